{{- /* What jobs of single namespaces may ask for, as JSON: without their defaults, which are a setting of their own. */ -}}
{{- define "finetune-operator.namespaceLimits" -}}
{{- $limits := dict -}}
{{- range $name, $own := .Values.jobs.namespaces -}}
{{- $_ := set $limits $name (omit $own "defaults") -}}
{{- end -}}
{{- toJson $limits -}}
{{- end -}}

{{- /* The defaults of all jobs that are set, as JSON. */ -}}
{{- define "finetune-operator.jobDefaults" -}}
{{- $defaults := dict -}}
{{- range $name, $value := .Values.jobs.defaults -}}
{{- if $value -}}{{- $_ := set $defaults $name $value -}}{{- end -}}
{{- end -}}
{{- toJson $defaults -}}
{{- end -}}

{{- /* The defaults of single namespaces, as JSON: an empty value takes away what all others have. */ -}}
{{- define "finetune-operator.namespaceDefaults" -}}
{{- $defaults := dict -}}
{{- range $name, $own := .Values.jobs.namespaces -}}
{{- if $own.defaults -}}{{- $_ := set $defaults $name $own.defaults -}}{{- end -}}
{{- end -}}
{{- toJson $defaults -}}
{{- end -}}

{{- /* Fails where a default is not allowed. Takes a dictionary of `jobs`, of `where` and, for a namespace, of its `own` values. */ -}}
{{- define "finetune-operator.checkDefaults" -}}
{{- $own := .own | default dict -}}
{{- $classes := ternary $own.allowedPriorityClasses .jobs.allowedPriorityClasses (hasKey $own "allowedPriorityClasses") -}}
{{- $keys := ternary $own.allowedTolerationKeys .jobs.allowedTolerationKeys (hasKey $own "allowedTolerationKeys") -}}
{{- $all := .jobs.defaults | default dict -}}
{{- $defaults := $own.defaults | default dict -}}
{{- $class := ternary $defaults.priorityClassName $all.priorityClassName (hasKey $defaults "priorityClassName") -}}
{{- $tolerations := ternary $defaults.tolerations $all.tolerations (hasKey $defaults "tolerations") -}}
{{- $instead := "allow it there, or choose another default" -}}
{{- if and $class (not (include "finetune-operator.allows" (dict "patterns" $classes "name" $class "reserved" (list "system-")))) -}}
{{- fail (printf "%s: the default priorityClassName %s is not in allowedPriorityClasses (%s); %s" .where $class (join ", " $classes) $instead) -}}
{{- end -}}
{{- $reserved := list "node.kubernetes.io/" "node-role.kubernetes.io/" "node.cloudprovider.kubernetes.io/" -}}
{{- $where := .where -}}
{{- range $index, $each := $tolerations -}}
{{- if and $each.key (not (include "finetune-operator.allows" (dict "patterns" $keys "name" $each.key "reserved" $reserved))) -}}
{{- fail (printf "%s: the key %s of the default tolerations is not in allowedTolerationKeys (%s); %s" $where $each.key (join ", " $keys) $instead) -}}
{{- end -}}
{{- if and (not $each.key) (not (has "**" $keys)) -}}
{{- fail (printf "%s: a default toleration without a key tolerates every taint, and ** is not in allowedTolerationKeys; %s" $where $instead) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Whether a pattern matches the name, as the controller judges jobs: a reserved prefix must be in its text before the first *. */ -}}
{{- define "finetune-operator.allows" -}}
{{- $name := .name -}}
{{- $prefix := "" -}}
{{- range .reserved -}}
{{- if hasPrefix . $name -}}{{- $prefix = . -}}{{- end -}}
{{- end -}}
{{- range .patterns -}}
{{- $matches := regexMatch (printf "^%s$" (regexQuoteMeta . | replace "\\*" ".*")) $name -}}
{{- if or (eq . "**") (and $matches (hasPrefix $prefix (first (splitList "*" .)))) -}}true{{- end -}}
{{- end -}}
{{- end -}}
