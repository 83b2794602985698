{{- define "moln.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "moln.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains "moln" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "moln.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "moln.image" -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}

{{- define "moln.serviceAccount" -}}
{{- default (include "moln.fullname" .) .Values.serviceAccount.name -}}
{{- end -}}

{{- /* The operator lets pods with these labels, in its namespace, reach the nodes' port 9001. */ -}}
{{- define "moln.selector" -}}
app.kubernetes.io/name: moln-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "moln.labels" -}}
{{ include "moln.selector" . }}
app.kubernetes.io/part-of: moln
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- /* What the operator may do in each namespace that it looks after. */ -}}
{{- define "moln.rules" -}}
- apiGroups: [moln.dev]
  resources: [clouds, storagenodes, replicationpolicies]
  verbs: [get, list, watch]
# A Cloud is only patched to hold its deletion; the default pool's StorageNode is written whole.
- apiGroups: [moln.dev]
  resources: [clouds]
  verbs: [patch]
- apiGroups: [moln.dev]
  resources: [clouds/finalizers]
  verbs: [update]
- apiGroups: [moln.dev]
  resources: [storagenodes]
  verbs: [create, patch]
- apiGroups: [moln.dev]
  resources: [clouds/status, storagenodes/status, replicationpolicies/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [configmaps, secrets, services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, list, watch, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, patch, delete]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies, ingresses]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}
