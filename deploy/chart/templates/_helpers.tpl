{{/* Labels of a part of the release: (list . "worker"). */}}
{{- define "revalid.selector" -}}
app.kubernetes.io/name: revalid
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "revalid.labels" -}}
{{ include "revalid.selector" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
{{- end }}

{{/* Fields of the pods of every part. Links to Services would set variables named REVALID_..., which are
not settings. */}}
{{- define "revalid.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- end }}

{{/* Fields of our own containers. */}}
{{- define "revalid.container" -}}
image: {{ .Values.image }}:{{ .Chart.AppVersion }}
securityContext:
  runAsUser: 10001
  runAsGroup: 10001
  runAsNonRoot: true
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* A variable from the Secret: (list . "NAME" "key"). */}}
{{- define "revalid.secret" -}}
- name: {{ index . 1 }}
  valueFrom: {secretKeyRef: {name: {{ (index . 0).Values.secret }}, key: {{ index . 2 }}}}
{{- end }}

{{- define "revalid.ca" -}}
- name: ca
  secret:
    secretName: {{ .Values.secret }}
    optional: true
    items: [{key: ca.pem, path: ca.pem}]
{{- end }}

{{/* Egress to the cluster's name server and to Redis. */}}
{{- define "revalid.egress" -}}
{{- $_ := required "redis.peers: give the address of Redis" (first .Values.redis.peers) -}}
- to:
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}
      podSelector: {matchLabels: {k8s-app: kube-dns}}
  ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
- to: {{ toJson .Values.redis.peers }}
  ports: [{port: {{ .Values.redis.port }}, protocol: TCP}]
{{- end }}
