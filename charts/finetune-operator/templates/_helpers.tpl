{{- define "finetune-operator.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "finetune-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "finetune-operator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name: name the ServiceAccount to use, or let the chart make one with serviceAccount.create" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "finetune-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- /* What the chart and helm say of an object, without the labels by which pods are selected. */ -}}
{{- define "finetune-operator.extraLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "finetune-operator.labels" -}}
{{ include "finetune-operator.selectorLabels" . }}
{{ include "finetune-operator.extraLabels" . }}
{{- end -}}

{{- /* Labels of what `helm test` makes: no selector of the controller's pods or Service finds it. */ -}}
{{- define "finetune-operator.testLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- /* commonAnnotations as an object's annotations, if there are any. */ -}}
{{- define "finetune-operator.annotations" -}}
{{- with .Values.commonAnnotations -}}
annotations: {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{- /* Takes a dictionary of `root` and the object's `own` annotations, which win. */ -}}
{{- define "finetune-operator.annotationsWith" -}}
{{- with merge (dict) (.own | default dict) (.root.Values.commonAnnotations | default dict) -}}
annotations: {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{- /* Labels and annotations of the definition: without labels of the release, because the definition outlives it. */ -}}
{{- define "finetune-operator.definitionMetadata" -}}
{{- with .Values.commonLabels }}
labels: {{- toYaml . | nindent 2 }}
{{- end }}
{{ $keep := ne (toString (.Values.crds).keep) "false" -}}
{{- include "finetune-operator.annotationsWith" (dict "root" . "own" (ternary (dict "helm.sh/resource-policy" "keep") dict $keep)) }}
{{- end -}}

{{- /* Takes a dictionary of `image`, the name of its `value` and the `root`: the image's name with tag or digest. */ -}}
{{- define "finetune-operator.image" -}}
{{- $repository := required (printf "%s.repository: name the image that you built and pushed, such as registry.example.com/finetune/controller" .value) .image.repository -}}
{{- if .image.digest -}}
{{- printf "%s%s@%s" $repository (ternary (printf ":%s" .image.tag) "" (ne (toString .image.tag) "")) .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default .root.Chart.AppVersion .image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Whether heads share an account: the cluster has to serve the policy that limits them. */}}
{{- define "finetune-operator.sharedAccount" -}}
{{- and .Values.jobs.sharedAccount (semverCompare ">=1.30-0" .Capabilities.KubeVersion.Version) -}}
{{- end -}}

{{- /* topologySpreadConstraints of the controller's pods; above one replica they have different nodes where that is possible. */ -}}
{{- define "finetune-operator.spread" -}}
{{- $own := dict "matchLabels" (include "finetune-operator.selectorLabels" . | fromYaml) -}}
{{- $given := .Values.topologySpreadConstraints -}}
{{- if and (not $given) (gt (int .Values.replicas) 1) -}}
{{- $given = list (dict "maxSkew" 1 "topologyKey" "kubernetes.io/hostname" "whenUnsatisfiable" "ScheduleAnyway") -}}
{{- end -}}
{{- $constraints := list -}}
{{- range $given -}}
{{- $constraints = append $constraints (hasKey . "labelSelector" | ternary . (set (deepCopy .) "labelSelector" $own)) -}}
{{- end -}}
{{- with $constraints -}}
topologySpreadConstraints: {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{/* A whole number, or nothing for null; 0 is a number. */}}
{{- define "finetune-operator.number" -}}
{{- if not (kindIs "invalid" .) }}{{ int64 . }}{{ end -}}
{{- end -}}
