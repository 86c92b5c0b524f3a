{{- define "serin.name" -}}
{{- if contains "serin" .Release.Name }}{{ .Release.Name | trunc 40 }}{{ else }}{{ printf "%s-serin" .Release.Name | trunc 40 }}{{ end }}
{{- end }}

{{- define "serin.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "serin.name" .) }}
{{- end }}

{{- define "serin.selector" -}}
app.kubernetes.io/name: serin
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "serin.labels" -}}
{{ include "serin.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{- define "serin.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end }}

{{- define "serin.config" -}}
images:
{{- range $name := list "trainer" "evaluator" "server" }}
  {{ $name }}: {{ index $.Values.images $name | default (printf "serin.dev/%s:%s" $name $.Chart.AppVersion) | quote }}
{{- end }}
imagePullPolicy: {{ .Values.imagePullPolicy }}
metricSources: {{- if .Values.metricSources }}{{ toYaml .Values.metricSources | nindent 2 }}{{ else }} []{{ end }}
prepareRetrySeconds: {{ .Values.prepareRetrySeconds }}
scaleDownDelaySeconds: {{ .Values.scaleDownDelaySeconds }}
approvalPolicy: {{ if .Values.admission.enabled }}{{ include "serin.name" . }}-approvals{{ else }}""{{ end }}
leaderElection: {{- toYaml .Values.leaderElection | nindent 2 }}
logFormat: {{ .Values.logFormat }}
{{- end }}

{{/* Users that may write the operator's records, as a CEL list. */}}
{{- define "serin.writers" -}}
{{- $operator := printf "system:serviceaccount:%s:%s" .Release.Namespace (include "serin.serviceAccount" .) -}}
[{{ range $index, $user := prepend .Values.admission.alsoAllowed $operator }}{{ if $index }}, {{ end }}'{{ $user }}'{{ end }}]
{{- end }}

{{/* CEL: the request comes from the operator, from the cluster itself, or from a controller that the platform team named. */}}
{{- define "serin.trusted" -}}
request.userInfo.username in {{ include "serin.writers" . }} || request.userInfo.username in ['system:kube-controller-manager', 'system:kube-scheduler'{{ range .Values.admission.controllers }}, '{{ . }}'{{ end }}] || (has(request.userInfo.groups) && request.userInfo.groups.exists(g, g in ['system:masters', 'system:nodes', 'system:serviceaccounts:kube-system']))
{{- end }}
