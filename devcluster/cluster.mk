# The development cluster's targets; included by the Makefile, which sets DEVCLUSTER.

.PHONY: tools images cluster-up cluster-down cluster-status cluster-check cluster-doctor kubeconfig
tools: ## build etcd, Kubernetes, CoreDNS, Contour, helm and versitygw from their Go modules (cached)
	@$(DEVCLUSTER) tools

images: ## build all container images (cached); `make images ONLY=trainer` builds one
	@$(DEVCLUSTER) images $(ONLY)

cluster-up: ## boot the single-node cluster; on a running one, check and repair it and load new images
	@$(DEVCLUSTER) up

cluster-down: ## remove the cluster without a trace; images and programs stay cached
	@$(DEVCLUSTER) down

cluster-status: ## what runs, what died and its last words
	@$(DEVCLUSTER) status

cluster-check: ## list what a removed cluster left behind; nothing, if all is well
	@$(DEVCLUSTER) check

cluster-doctor: ## what this machine lacks for the cluster
	@$(DEVCLUSTER) doctor

kubeconfig: ## print the line that points kubectl at the development cluster
	@echo "export KUBECONFIG=$(SERIN_CACHE)/cluster/admin.kubeconfig"
