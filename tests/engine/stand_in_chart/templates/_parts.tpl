{{- define "labels" }}
app: {{ .root.Values.nameOverride }}
component: {{ .component }}
release: {{ .root.Release.Name }}
{{- end }}

{{- define "image" }}{{ .name }}:{{ .tag }}{{ end }}

{{- define "restricted" }}
securityContext:
  allowPrivilegeEscalation: false
  runAsNonRoot: true
  runAsUser: {{ . }}
  runAsGroup: {{ . }}
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "pullSecrets" }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{- /* Each switch of `egressAllowRules` opens something; what is beside them comes from the stack as it is. */}}
{{- define "egress" }}
{{- $rules := .egressAllowRules }}
{{- if or $rules.dnsPortsCloudMetadataServer $rules.dnsPortsKubeSystemNamespace $rules.dnsPortsPrivateIPs }}
- ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]
  to:
    {{- if $rules.dnsPortsCloudMetadataServer }}
    - ipBlock: {cidr: 169.254.169.254/32}
    {{- end }}
    {{- if $rules.dnsPortsKubeSystemNamespace }}
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}
    {{- end }}
    {{- if $rules.dnsPortsPrivateIPs }}
    - ipBlock: {cidr: 10.0.0.0/8}
    - ipBlock: {cidr: 172.16.0.0/12}
    - ipBlock: {cidr: 192.168.0.0/16}
    {{- end }}
{{- end }}
{{- if $rules.nonPrivateIPs }}
- to:
    - ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 169.254.169.254/32]}
{{- end }}
{{- if $rules.privateIPs }}
- to:
    - ipBlock: {cidr: 10.0.0.0/8}
    - ipBlock: {cidr: 172.16.0.0/12}
    - ipBlock: {cidr: 192.168.0.0/16}
{{- end }}
{{- if $rules.cloudMetadataServer }}
- to:
    - ipBlock: {cidr: 169.254.169.254/32}
{{- end }}
{{- with .egress }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "puller" }}
selector:
  matchLabels: {{- include "labels" . | nindent 4 }}
template:
  metadata:
    labels:
      {{- include "labels" . | nindent 6 }}
      {{- with .root.Values.prePuller.labels }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
  spec:
    {{- include "pullSecrets" .root | nindent 4 }}
    automountServiceAccountToken: false
    terminationGracePeriodSeconds: 0
    {{- with .root.Values.singleuser.nodeSelector }}
    nodeSelector: {{- toYaml . | nindent 6 }}
    {{- end }}
    initContainers:
      {{- $images := dict "singleuser" .root.Values.singleuser.image }}
      {{- range $name, $image := merge $images .root.Values.prePuller.extraImages }}
      - name: image-pull-{{ $name }}
        image: {{ include "image" $image }}
        imagePullPolicy: IfNotPresent
        command: [/bin/sh, -c, "echo pulled"]
        resources: {{- toYaml $.root.Values.prePuller.resources | nindent 10 }}
        {{- include "restricted" 65534 | nindent 8 }}
      {{- end }}
    containers:
      - name: pause
        image: {{ include "image" .root.Values.prePuller.pause.image }}
        imagePullPolicy: IfNotPresent
        resources: {{- toYaml .root.Values.prePuller.resources | nindent 10 }}
        {{- include "restricted" 65534 | nindent 8 }}
{{- end }}

{{- /* The hook pulls again only for another set of images, as its pods are told. */}}
{{- define "pullerSum" }}
{{- include "puller" (dict "root" . "component" "hook-image-puller") | sha256sum }}
{{- end }}

{{- define "hookNeeded" }}
{{- if .Values.prePuller.hook.enabled }}
{{- $found := lookup "v1" "ConfigMap" .Release.Namespace "hub" | default (dict "data" dict) }}
{{- if or (not .Values.prePuller.hook.pullOnlyOnChanges) (ne (include "pullerSum" .) (index $found.data "pullerSum" | default "")) }}yes{{ end }}
{{- end }}
{{- end }}

{{- define "hook" }}
helm.sh/hook: pre-install,pre-upgrade
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
helm.sh/hook-weight: {{ . | quote }}
{{- end }}
