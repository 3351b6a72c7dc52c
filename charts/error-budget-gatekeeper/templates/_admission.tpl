{{/* Whether the API server serves a kind of admission policies, and this part of them is switched on. */}}
{{- define "gatekeeper.admits" -}}
{{- $kind := index . 1 -}}
{{- $switch := index . 2 -}}
{{- with index . 0 -}}
{{- if and (index .Values.admission $switch) (.Capabilities.APIVersions.Has (printf "admissionregistration.k8s.io/v1/%s" $kind)) -}}
yes
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Name of an admission policy. It is the whole cluster's, and releases of one name in two namespaces are two. */}}
{{- define "gatekeeper.admissionName" -}}
{{- $part := index . 1 -}}
{{- with index . 0 -}}
{{- printf "%s.%s.%s" $part (include "gatekeeper.fullname" .) .Release.Namespace -}}
{{- end -}}
{{- end -}}

{{/* What a policy is bound to: the watched namespaces, and in each the ErrorBudgetPolicies of that namespace. */}}
{{- define "gatekeeper.admissionScope" -}}
{{- with .Values.watch.namespaces -}}
matchResources:
  namespaceSelector:
    matchExpressions:
      - key: kubernetes.io/metadata.name
        operator: In
        values: {{ uniq . | toJson }}
{{- end -}}
{{- end -}}

{{- define "gatekeeper.admissionParams" -}}
paramRef:
  # All of the Deployment's namespace that this release enforces; where there is none, nothing happens.
  selector: {{ .Values.watch.policySelector | toJson }}
  parameterNotFoundAction: Allow
{{- end -}}

{{- define "gatekeeper.admissionParamKind" -}}
paramKind:
  apiVersion: errorbudget.dev/v1alpha1
  kind: ErrorBudgetPolicy
{{- end -}}

{{/*
The one condition under which a policy is looked at closer. It is evaluated for every ErrorBudgetPolicy of the namespace, in
every write of a Deployment, and several conditions would all be evaluated even when the first is not met: so it is one,
and what is cheap comes first. The operator's own writes pass. The deployment controller's need no exemption: they are of
the status.
*/}}
{{- define "gatekeeper.admissionNotOperator" -}}
request.userInfo.username != {{ printf "system:serviceaccount:%s:%s" .Release.Namespace (include "gatekeeper.serviceAccountName" .) | squote }}
{{- end -}}

{{/* Variables that expressions share: annotations as they would be and as they are. */}}
{{- define "gatekeeper.admissionAnnotations" -}}
- name: annotations
  expression: 'has(object.metadata.annotations) ? object.metadata.annotations : {}'
- name: before
  expression: 'request.operation == "UPDATE" && has(oldObject.metadata.annotations) ? oldObject.metadata.annotations : {}'
{{- end -}}

{{/* Whether the policy selects an object, as the operator itself matches labels. */}}
{{- define "gatekeeper.admissionSelects" -}}
{{- $labels := printf "(has(%s.metadata.labels) ? %s.metadata.labels : {})" . . -}}
(!has(params.spec.selector.matchLabels) || params.spec.selector.matchLabels.all(key,
  key in {{ $labels }} && {{ $labels }}[key] == params.spec.selector.matchLabels[key])) &&
(!has(params.spec.selector.matchExpressions) || params.spec.selector.matchExpressions.all(wanted,
  wanted.operator == 'In' ? wanted.key in {{ $labels }} && {{ $labels }}[wanted.key] in wanted.values :
  wanted.operator == 'NotIn' ? !(wanted.key in {{ $labels }}) || !({{ $labels }}[wanted.key] in wanted.values) :
  wanted.operator == 'Exists' ? wanted.key in {{ $labels }} :
  !(wanted.key in {{ $labels }})))
{{- end -}}

{{/* The operator has said that the policy is in force. One that it refuses, or has never seen, stops nobody. */}}
{{- define "gatekeeper.admissionIsReady" -}}
params.spec.mode == 'Enforce' && has(params.status) && has(params.status.conditions) &&
params.status.conditions.exists(condition, condition.type == 'Ready' && condition.status == 'True')
{{- end -}}

{{/* Whether the user has a verb on the policy. */}}
{{- define "gatekeeper.admissionMay" -}}
authorizer.group('errorbudget.dev').resource('errorbudgetpolicies').namespace(params.metadata.namespace).name(params.metadata.name).check('{{ . }}').allowed()
{{- end -}}

{{/* The write sets errorbudget.dev/release, by someone who may: it takes a hold away, and nothing stands in its way. */}}
{{- define "gatekeeper.admissionIsRelease" -}}
'errorbudget.dev/release' in variables.annotations &&
(!('errorbudget.dev/release' in variables.before) ||
  variables.annotations['errorbudget.dev/release'] != variables.before['errorbudget.dev/release']) &&
{{ include "gatekeeper.admissionMay" "override" }}
{{- end -}}
