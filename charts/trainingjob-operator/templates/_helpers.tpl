{{/* Short enough for the longest suffix (-dashboard) to fit into 63 characters. */}}
{{- define "trainingjob-operator.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "trainingjob-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ .Values.nameOverride | default .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "trainingjob-operator.labels" -}}
{{ include "trainingjob-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
{{- end }}

{{- define "trainingjob-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "trainingjob-operator.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end }}

{{- define "trainingjob-operator.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end }}

{{/* All that the operator does; docs/install.md has the reason for each. */}}
{{- define "trainingjob-operator.rules" -}}
- apiGroups: [trainingjob.dev]
  resources: [trainingjobs]
  verbs: [delete, list, watch]
- apiGroups: [trainingjob.dev]
  resources: [trainingjobs/status]
  verbs: [update]
- apiGroups: [""]
  resources: [pods]
  verbs: [create, delete, get, list, watch]
- apiGroups: [""]
  resources: [services]
  verbs: [create, get, list{{ if .Values.deploy.enabled }}, patch{{ end }}, watch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [create, get, list, watch]
- apiGroups: [""]
  resources: [events]
  verbs: [create{{ if .Values.podEvents.enabled }}, list{{ end }}]
{{- if .Values.podGroups.enabled }}
- apiGroups: [scheduling.k8s.io]
  resources: [podgroups]
  verbs: [create, get]
{{- end }}
{{- if .Values.claims.create }}
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [create, get]
{{- end }}
{{- if .Values.deploy.enabled }}
- apiGroups: [apps]
  resources: [deployments]
  verbs: [create, get, list, patch, watch]
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [list, watch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [create, get, list, patch, watch]
{{- end }}
{{- if .Values.deploy.kserve.enabled }}
- apiGroups: [serving.kserve.io]
  resources: [inferenceservices]
  verbs: [create, get, list, patch]
{{- end }}
{{- end }}

{{/* {"list": [...]}: a template gives text alone. */}}
{{- define "trainingjob-operator.sparkNamespaces" -}}
{{- $names := list -}}
{{- if .Values.spark.create -}}
{{- $names = .Values.spark.namespaces | default .Values.namespaces -}}
{{- end -}}
{{- dict "list" $names | toJson -}}
{{- end }}
