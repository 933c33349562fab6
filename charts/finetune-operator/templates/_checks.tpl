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
{{- include "finetune-operator.checkDefaults" (dict "jobs" .Values.jobs "where" "jobs") -}}
{{- range $name, $own := .Values.jobs.namespaces -}}
{{- include "finetune-operator.checkDefaults" (dict "jobs" $.Values.jobs "where" (printf "jobs.namespaces.%s" $name) "own" $own) -}}
{{- end -}}
{{- $jobs := (.Values.networkPolicy).jobs | default dict -}}
{{- if and $jobs.enabled (not (include "finetune-operator.jobNamespaces" .)) -}}
{{- fail "networkPolicy.jobs.namespaces: name the namespaces in which jobs run; the release watches all, and a policy is an object of one namespace" -}}
{{- end -}}
{{- if and $jobs.enabled (not $jobs.internet) (not ((.Values.networkPolicy).apiServer).cidrs) -}}
{{- fail "networkPolicy.apiServer.cidrs: name the API server's addresses; without them heads reach its ports at any address, and networkPolicy.jobs.internet: false keeps nobody in" -}}
{{- end -}}
{{- $metrics := .Values.metrics -}}
{{- if not (.Values.networkPolicy).metricsFrom -}}
{{- if and $jobs.enabled ($metrics.jobs).enabled -}}
{{- fail "networkPolicy.metricsFrom: name where Prometheus runs; networkPolicy.jobs would keep it from the metrics that metrics.jobs has it read" -}}
{{- end -}}
{{- if and ((.Values.networkPolicy).controller).enabled (or ($metrics.podMonitor).enabled ($metrics.serviceMonitor).enabled ($metrics.service).enabled) -}}
{{- fail "networkPolicy.metricsFrom: name where Prometheus runs; networkPolicy.controller would keep it from the metrics that a monitor or Service of metrics has it read" -}}
{{- end -}}
{{- end -}}
{{- $watched := compact (splitList "," (include "finetune-operator.watched" .)) -}}
{{- if gt (len $watched) 64 -}}
{{- fail (printf "watchNamespaces: with watchNamespace these are %d namespaces, and at most 64 can be watched one by one; for more, name none and watch all" (len $watched)) -}}
{{- end -}}
{{- range $name := list "podMonitor" "serviceMonitor" "jobs" -}}
{{- $monitor := index $metrics $name | default dict -}}
{{- if and $monitor.enabled $monitor.interval $monitor.scrapeTimeout -}}
{{- if gt (include "finetune-operator.seconds" $monitor.scrapeTimeout | int) (include "finetune-operator.seconds" $monitor.interval | int) -}}
{{- fail (printf "metrics.%s.scrapeTimeout: %s is longer than the interval, %s; Prometheus refuses such a monitor" $name $monitor.scrapeTimeout $monitor.interval) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* A duration such as 1m30s in seconds. */ -}}
{{- define "finetune-operator.seconds" -}}
{{- $hours := regexFind "[0-9]+h" . | trimSuffix "h" | int -}}
{{- $minutes := regexFind "[0-9]+m" . | trimSuffix "m" | int -}}
{{- add (mul 3600 $hours) (mul 60 $minutes) (regexFind "[0-9]+s" . | trimSuffix "s" | int) -}}
{{- end -}}

{{- /* The namespaces whose jobs are run, separated by commas; empty for all. */ -}}
{{- define "finetune-operator.watched" -}}
{{- concat (.Values.watchNamespaces | default list) (compact (list .Values.watchNamespace)) | uniq | join "," -}}
{{- end -}}

{{- /* Where policies for jobs are made, separated by commas. */ -}}
{{- define "finetune-operator.jobNamespaces" -}}
{{- default (include "finetune-operator.watched" .) (join "," ((.Values.networkPolicy).jobs).namespaces) -}}
{{- end -}}
