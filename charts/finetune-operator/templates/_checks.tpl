{{- /* What the schema of the values cannot say: rules over several values. Each message begins with the value's name. */ -}}
{{- define "finetune-operator.checks" -}}
{{- $own := list "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "helm.sh/chart" -}}
{{- range $value, $labels := dict "commonLabels" .Values.commonLabels "podLabels" .Values.podLabels -}}
{{- range $key := keys ($labels | default dict) | sortAlpha -}}
{{- if has $key $own -}}
{{- fail (printf "%s: the chart sets %s itself; choose another key" $value $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $key := keys (.Values.podLabels | default dict) | sortAlpha -}}
{{- if hasKey ($.Values.commonLabels | default dict) $key -}}
{{- fail (printf "podLabels: %s is also in commonLabels; give it once" $key) -}}
{{- end -}}
{{- end -}}
{{- $election := .Values.leaderElection | default dict -}}
{{- $lease := $election.leaseSeconds | default 15 | float64 -}}
{{- $renew := $election.renewDeadlineSeconds | default 10 | float64 -}}
{{- $retry := $election.retrySeconds | default 2 | float64 -}}
{{- if not (and (lt $retry $renew) (lt $renew $lease)) -}}
{{- fail (printf "leaderElection: retrySeconds (%g) must be less than renewDeadlineSeconds (%g), and that less than leaseSeconds (%g); otherwise a leader works on after its lease has expired" $retry $renew $lease) -}}
{{- end -}}
{{- $jobs := (.Values.networkPolicy).jobs | default dict -}}
{{- if and $jobs.enabled (not (include "finetune-operator.jobNamespaces" .)) -}}
{{- fail "networkPolicy.jobs.namespaces: name the namespaces in which jobs run; the release watches all, and a policy is an object of one namespace" -}}
{{- end -}}
{{- if and $jobs.enabled (not $jobs.internet) (not ((.Values.networkPolicy).apiServer).cidrs) -}}
{{- fail "networkPolicy.apiServer.cidrs: name the API server's addresses; without them heads reach its ports at any address, and networkPolicy.jobs.internet: false keeps nobody in" -}}
{{- end -}}
{{- end -}}

{{- /* The namespaces whose jobs are run, separated by commas; empty for all. */ -}}
{{- define "finetune-operator.watched" -}}
{{- concat (.Values.watchNamespaces | default list) (compact (list .Values.watchNamespace)) | uniq | join "," -}}
{{- end -}}

{{- /* Where policies for jobs are made, separated by commas. */ -}}
{{- define "finetune-operator.jobNamespaces" -}}
{{- default (include "finetune-operator.watched" .) (join "," ((.Values.networkPolicy).jobs).namespaces) -}}
{{- end -}}
