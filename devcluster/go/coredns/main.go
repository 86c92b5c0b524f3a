// CoreDNS with just the plugins that the development cluster's Corefile names. The stock program also compiles in
// the SDKs of three cloud providers and etcd's client: minutes of building for nothing used here.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/loop"
	_ "github.com/coredns/coredns/plugin/metrics"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"
)

// The order is the order in which a query passes through the plugins.
var plugins = []string{
	"reload", "health", "ready", "prometheus", "errors", "log", "cache", "loop", "kubernetes", "forward",
}

func main() {
	dnsserver.Directives = plugins
	coremain.Run()
}
