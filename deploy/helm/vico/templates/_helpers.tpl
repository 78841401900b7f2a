{{- define "vico.name" -}}
{{- if contains "vico" .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-vico{{ end }}
{{- end }}

{{- define "vico.selector" -}}
app.kubernetes.io/name: vico
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "vico.labels" -}}
{{ include "vico.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "vico.image" -}}
{{- $kind := ternary "cpu" "gpu" (eq .Values.device "cpu") -}}
{{- $tag := .Values.image.tag | default (printf "%s-%s" .Chart.AppVersion $kind) -}}
{{ .Values.image.repository }}:{{ $tag }}{{ with .Values.image.digest }}@{{ . }}{{ end }}
{{- end }}

{{/* kubelet's own gRPC probe speaks no TLS. SERVING means that a picture came through every stage. */}}
{{- define "vico.probe" -}}
exec:
  command:
    - grpc_health_probe
    - -addr=127.0.0.1:8001
    - -connect-timeout=2s
    - -rpc-timeout=2s
    - -tls
    - -tls-no-verify
    {{- if .Values.secrets.mutualTls }}
    - -tls-client-cert=/run/secrets/vico/tls.crt
    - -tls-client-key=/run/secrets/vico/tls.key
    {{- end }}
timeoutSeconds: 5
{{- end }}

{{- define "vico.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "vico.args" -}}
- --graphs=/graphs
- --registry={{ .Values.registry.url | default "/registry" }}
- --device={{ .Values.device }}
- --host=0.0.0.0
- --metrics-host=0.0.0.0
- --keys=/run/secrets/vico/keys.json
- --tls-cert=/run/secrets/vico/tls.crt
- --tls-key=/run/secrets/vico/tls.key
{{- if .Values.secrets.mutualTls }}
- --tls-client-ca=/run/secrets/vico/ca.crt
{{- end }}
{{- if .Values.secrets.signer }}
- --require-signature=/run/secrets/vico/signer.pub
{{- end }}
{{- if .Values.secrets.admin }}
- --admin-secret-file=/run/secrets/vico/admin
{{- end }}
{{- with .Values.outputs.safetyChecker }}
- --safety-checker={{ . }}
- --safety-answer={{ $.Values.outputs.safetyAnswer }}
- --safety-seconds={{ $.Values.outputs.safetySeconds }}
{{- end }}
{{- if .Values.secrets.watermark }}
- --watermark-key-file=/run/secrets/vico/watermark
- --watermark-id={{ .Values.outputs.watermarkId }}
{{- end }}
{{- if .Values.secrets.provenance }}
- --provenance-certificate=/run/secrets/vico/provenance.crt
- --provenance-key=/run/secrets/vico/provenance.key
{{- range .Values.outputs.provenanceClaims }}
- --provenance-claim={{ . }}
{{- end }}
{{- end }}
- --max-lanes={{ .Values.server.maxLanes }}
- --max-rows={{ .Values.server.maxRows }}
- --max-queue={{ .Values.server.maxQueue }}
- --max-client-queue={{ .Values.server.maxClientQueue }}
- --connection-seconds={{ .Values.server.connectionSeconds }}
- --slots={{ .Values.server.slots }}
- --host-mib={{ .Values.server.hostMib }}
- --reference-mib={{ .Values.server.referenceMib }}
{{- if .Values.logs.prompts }}
- --log-prompts
{{- end }}
{{- with .Values.tracing.endpoint }}
- --otlp-endpoint={{ . }}
{{- end }}
- --start-timeout={{ .Values.startSeconds }}
- --grace={{ .Values.stopSeconds }}
{{- end }}
