{{/* Names. 50 leaves room for the longest suffix. */}}
{{- define "clopos-relay.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "clopos-relay.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "clopos-relay.name" .) .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "clopos-relay.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Labels that never change: selectors are immutable. */}}
{{- define "clopos-relay.selectorLabels" -}}
app.kubernetes.io/name: {{ include "clopos-relay.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "clopos-relay.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "clopos-relay.selectorLabels" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "clopos-relay.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "clopos-relay.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "clopos-relay.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end }}

{{- define "clopos-relay.secretName" -}}
{{ .Values.secrets.existingSecret | default (include "clopos-relay.fullname" .) }}
{{- end }}

{{/* The Valkey chart's own rule for the name of its Service. */}}
{{- define "clopos-relay.valkeyName" -}}
{{- $valkey := .Values.valkey -}}
{{- if $valkey.fullnameOverride -}}
{{ $valkey.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else -}}
{{- $name := $valkey.nameOverride | default "valkey" -}}
{{- if contains $name .Release.Name -}}
{{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "clopos-relay.valkeyPort" -}}
{{ dig "service" "port" 6379 .Values.valkey }}
{{- end }}

{{/* The address of Redis where it is no secret, "" where it is in a Secret. */}}
{{- define "clopos-relay.redisUrl" -}}
{{- if .Values.redis.existingSecret -}}
{{- else if .Values.redis.url -}}
{{ .Values.redis.url }}
{{- else -}}
redis://{{ include "clopos-relay.valkeyName" . }}:{{ include "clopos-relay.valkeyPort" . }}/0
{{- end -}}
{{- end }}

{{/* A duration of the relay (250ms, 2s, 1.5h) in whole seconds, rounded up. */}}
{{- define "clopos-relay.seconds" -}}
{{- $number := regexFind "^[0-9.]+" . | float64 -}}
{{- $unit := regexFind "[a-z]+$" . -}}
{{- mulf $number (get (dict "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0 "d" 86400.0) $unit) | ceil | int -}}
{{- end }}

{{/*
The shortest grace time of a component, in seconds.
An attempt ends by its timeout plus one second and is then settled; whoever holds a lease and is not done by then gives it back.
*/}}
{{- define "clopos-relay.leastGrace" -}}
{{- $attempt := include "clopos-relay.seconds" (.root.Values.settings.attemptTimeout | default "15s") | int -}}
{{- if eq .component "api" -}}
{{ add .root.Values.api.preStopSeconds (max $attempt 20) 10 }}
{{- else if eq .component "deliver" -}}
{{ max 30 (add $attempt 15) }}
{{- else if eq .component "scheduler" -}}
15
{{- else -}}
30
{{- end -}}
{{- end }}

{{- define "clopos-relay.grace" -}}
{{ .grace | default (include "clopos-relay.leastGrace" .) }}
{{- end }}

{{/* What a scrape of this release alone looks like in Prometheus, where the chart's own ServiceMonitor makes the labels. */}}
{{- define "clopos-relay.series" -}}
{{- if .root.Values.serviceMonitor.enabled -}}
{{ .metric }}{namespace="{{ .root.Release.Namespace }}",service="{{ include "clopos-relay.fullname" .root }}"{{ with .labels }},{{ . }}{{ end }}}
{{- else -}}
{{ .metric }}{{ with .labels }}{ {{- . -}} }{{ end }}
{{- end -}}
{{- end }}
