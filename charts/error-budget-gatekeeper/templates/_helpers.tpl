{{/* Name of the application, as labels carry it. */}}
{{- define "gatekeeper.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Name of the release's objects. It is the Lease's name, too: two releases never share one. */}}
{{- define "gatekeeper.fullname" -}}
{{- $name := include "gatekeeper.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that select the operator's pods: they can never change in an upgrade. */}}
{{- define "gatekeeper.selectorLabels" -}}
app.kubernetes.io/name: {{ include "gatekeeper.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels of every object. */}}
{{- define "gatekeeper.labels" -}}
{{ include "gatekeeper.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Name of the account the operator acts as. */}}
{{- define "gatekeeper.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "gatekeeper.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is empty: with serviceAccount.create=false, give the name of the account to use" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The account, as the subjects of a binding. */}}
{{- define "gatekeeper.subjects" -}}
- kind: ServiceAccount
  name: {{ include "gatekeeper.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}

{{/* Reference of the image: a digest is exact and goes before a tag. */}}
{{- define "gatekeeper.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What the operator may do in the namespaces it watches: nothing here can be left out, and nothing else is used. */}}
{{- define "gatekeeper.rules" -}}
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, patch]
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [get, list, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
- apiGroups: [errorbudget.dev]
  resources: [errorbudgetpolicies]
  verbs: [get, list, watch]
- apiGroups: [errorbudget.dev]
  resources: [errorbudgetpolicies/status]
  verbs: [patch]
{{- end -}}

{{/* The label selector of the policies that this release enforces, as `kubectl --selector` takes it; empty: all. */}}
{{- define "gatekeeper.policySelector" -}}
{{- $requirements := list -}}
{{- range $key, $value := .Values.watch.policySelector.matchLabels -}}
{{- $requirements = append $requirements (printf "%s=%s" $key $value) -}}
{{- end -}}
{{- range .Values.watch.policySelector.matchExpressions -}}
{{- if has .operator (list "In" "NotIn") -}}
{{- $requirements = append $requirements (printf "%s %s (%s)" .key (lower .operator) (join "," .values)) -}}
{{- else -}}
{{- $requirements = append $requirements (printf "%s%s" (ternary "" "!" (eq .operator "Exists")) .key) -}}
{{- end -}}
{{- end -}}
{{- join "," $requirements -}}
{{- end -}}

{{/* The operator's configuration file. */}}
{{- define "gatekeeper.config" -}}
{{- if not (or .Values.prometheus .Values.podEvidence.enabled) -}}
{{- fail "prometheus is empty: give the address of your Prometheus, for example --set prometheus.default.url=http://prometheus-server.monitoring.svc, or set podEvidence.enabled=true to read pods themselves" -}}
{{- end -}}
{{- range $name, $endpoint := .Values.prometheus -}}
{{- if not $endpoint.url -}}
{{- fail (printf "prometheus.%s.url is empty: give the address of your Prometheus, for example --set prometheus.%s.url=http://prometheus-server.monitoring.svc" $name $name) -}}
{{- end -}}
{{- end -}}
prometheus:
  {{- toYaml .Values.prometheus | nindent 2 }}
{{- if .Values.podEvidence.enabled }}
podEvidence:
  {{- toYaml (omit .Values.podEvidence "enabled") | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Annotations of what lives only while the release is being uninstalled; the argument is its place in the order. */}}
{{- define "gatekeeper.afterUninstall" -}}
helm.sh/hook: post-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded,hook-failed
{{- end -}}
