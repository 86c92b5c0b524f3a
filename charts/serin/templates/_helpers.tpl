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
leaderElection: {{- toYaml .Values.leaderElection | nindent 2 }}
logFormat: {{ .Values.logFormat }}
{{- end }}
