{{/*
What all pods of the relay share. Each define takes a dict with `root` (the chart's context) and `component`.
*/}}

{{- define "clopos-relay.podMetadata" -}}
labels:
  {{- include "clopos-relay.selectorLabels" .root | nindent 2 }}
  app.kubernetes.io/component: {{ .component }}
  {{- with .root.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with .root.Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  # A changed setting is read at start only.
  checksum/settings: {{ toJson .root.Values.settings | sha256sum }}
  {{- if not .root.Values.secrets.existingSecret }}
  checksum/secret: {{ toJson .root.Values.secrets | sha256sum }}
  {{- end }}
  {{- with .root.Values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "clopos-relay.podCommon" -}}
serviceAccountName: {{ include "clopos-relay.serviceAccountName" .root }}
automountServiceAccountToken: false
# A Service named `relay` would put RELAY_PORT=tcp://… into the environment.
enableServiceLinks: false
securityContext:
  {{- toYaml .root.Values.podSecurityContext | nindent 2 }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "clopos-relay.topologySpread" -}}
{{- if .root.Values.topologySpread.enabled -}}
topologySpreadConstraints:
  {{- range .root.Values.topologySpread.topologyKeys }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: {{ $.root.Values.topologySpread.whenUnsatisfiable }}
    labelSelector:
      matchLabels:
        {{- include "clopos-relay.selectorLabels" $.root | nindent 8 }}
        app.kubernetes.io/component: {{ $.component }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end -}}
{{- end }}

{{- define "clopos-relay.container" -}}
image: {{ include "clopos-relay.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{/* Environment of a role that opens Redis. */}}
{{- define "clopos-relay.env" -}}
- name: RELAY_DATA_DIR
  value: /data
- name: RELAY_SECRET_KEYS_FILE
  value: /run/secrets/clopos-relay/secret-keys
{{- with include "clopos-relay.redisUrl" .root }}
- name: RELAY_REDIS_URL
  value: {{ . | quote }}
{{- else }}
- name: RELAY_REDIS_URL_FILE
  value: /run/secrets/clopos-relay/redis-url
{{- end }}
{{- if eq .component "api" }}
- name: RELAY_HOST
  value: "0.0.0.0"
- name: RELAY_PORT
  value: "8080"
- name: RELAY_ADMIN_TOKEN_FILE
  value: /run/secrets/clopos-relay/admin-token
# For `kubectl exec … -- relay brands` and the like.
- name: RELAY_TOKEN_FILE
  value: /run/secrets/clopos-relay/admin-token
{{- if .root.Values.secrets.keys.metricsToken }}
- name: RELAY_METRICS_TOKEN_FILE
  value: /run/secrets/clopos-relay/metrics-token
{{- end }}
{{- end }}
{{- with .root.Values.tracing.endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- with .root.Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "clopos-relay.envFrom" -}}
- configMapRef:
    name: {{ include "clopos-relay.fullname" .root }}-settings
{{- end }}

{{- define "clopos-relay.volumeMounts" -}}
- name: tmp
  mountPath: /tmp
- name: data
  mountPath: /data
- name: secrets
  mountPath: /run/secrets/clopos-relay
  readOnly: true
{{- if .root.Values.redis.ca.existingSecret }}
- name: redis-ca
  mountPath: /etc/clopos-relay/redis-ca
  readOnly: true
{{- end }}
{{- with .root.Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Only the API gets the admin token. */}}
{{- define "clopos-relay.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: 64Mi}
- name: data
  emptyDir: {sizeLimit: 64Mi}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      - secret:
          name: {{ include "clopos-relay.secretName" .root }}
          items:
            - key: {{ .root.Values.secrets.keys.secretKeys }}
              path: secret-keys
            {{- if eq .component "api" }}
            - key: {{ .root.Values.secrets.keys.adminToken }}
              path: admin-token
            {{- with .root.Values.secrets.keys.metricsToken }}
            - key: {{ . }}
              path: metrics-token
            {{- end }}
            {{- end }}
      {{- with .root.Values.redis.existingSecret }}
      - secret:
          name: {{ . }}
          items:
            - key: {{ $.root.Values.redis.existingSecretKey }}
              path: redis-url
      {{- end }}
{{- with .root.Values.redis.ca.existingSecret }}
- name: redis-ca
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- with .root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Probes of a role without a port. Ready when started: nothing is routed to it, and the next pod waits for its start. */}}
{{- define "clopos-relay.healthProbes" -}}
startupProbe:
  exec:
    command: [relay, health, {{ .role }}]
  periodSeconds: 5
  timeoutSeconds: {{ .root.Values.healthProbe.timeoutSeconds }}
  failureThreshold: 24
livenessProbe:
  exec:
    command: [relay, health, {{ .role }}]
  periodSeconds: {{ .root.Values.healthProbe.periodSeconds }}
  timeoutSeconds: {{ .root.Values.healthProbe.timeoutSeconds }}
  failureThreshold: {{ .root.Values.healthProbe.failureThreshold }}
{{- end }}

{{/* The Deployment's own fields that every role shares. */}}
{{- define "clopos-relay.deploymentSpec" -}}
revisionHistoryLimit: 3
minReadySeconds: 5
strategy:
  type: RollingUpdate
  rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
selector:
  matchLabels:
    {{- include "clopos-relay.selectorLabels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Environment of what talks to the API from outside. */}}
{{- define "clopos-relay.clientEnv" -}}
- name: RELAY_URL
  value: http://{{ include "clopos-relay.fullname" .root }}:{{ .root.Values.service.port }}
- name: RELAY_TOKEN_FILE
  value: /run/secrets/clopos-relay/admin-token
- name: RELAY_DATA_DIR
  value: /tmp
{{- end }}

{{- define "clopos-relay.tokenVolume" -}}
- name: token
  secret:
    secretName: {{ include "clopos-relay.secretName" .root }}
    defaultMode: 0440
    items:
      - key: {{ .root.Values.secrets.keys.adminToken }}
        path: admin-token
      {{- if and .scrapes .root.Values.secrets.keys.metricsToken }}
      - key: {{ .root.Values.secrets.keys.metricsToken }}
        path: metrics-token
      {{- end }}
{{- end }}
