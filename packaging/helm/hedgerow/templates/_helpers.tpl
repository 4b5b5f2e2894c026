{{- define "hedgerow.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "hedgerow.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "hedgerow.labels" -}}
{{ include "hedgerow.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "hedgerow.secret" -}}
{{- .Values.secret.existing | default (include "hedgerow.name" .) -}}
{{- end }}

{{/* The whole of Hedgerow's settings. */}}
{{- define "hedgerow.config" -}}
{{- $spool := "off" -}}
{{- if eq .Values.spool.kind "disk" -}}
{{- $spool = dict "path" "/var/lib/hedgerow/spool/" "max_size" .Values.spool.maxSize "max_age" .Values.spool.maxAge -}}
{{- else if eq .Values.spool.kind "nats" -}}
{{- $spool = dict "nats" .Values.spool.nats "max_size" .Values.spool.maxSize "max_age" .Values.spool.maxAge -}}
{{- end -}}
{{- $ours := dict
      "listen" "0.0.0.0:8080"
      "health" "0.0.0.0:9091"
      "admin" (ternary "0.0.0.0:9090" "off" .Values.admin)
      "delivery" (dict "spool" $spool)
      "server" (dict "grace" (printf "%ds" (int .Values.grace))) -}}
{{- toYaml (mergeOverwrite (deepCopy .Values.config) $ours) -}}
{{- end }}

{{/* What is the same in a StatefulSet and a Deployment. */}}
{{- define "hedgerow.template" -}}
metadata:
  labels:
    {{- include "hedgerow.selector" . | nindent 4 }}
  annotations:
    # Changed settings start new pods.
    checksum/config: {{ include "hedgerow.config" . | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ add .Values.preStop .Values.grace 5 }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  containers:
    - name: hedgerow
      image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [run, -c, /etc/hedgerow/hedgerow.yaml]
      envFrom:
        - secretRef:
            name: {{ include "hedgerow.secret" . }}
      {{- with .Values.env }}
      env:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - name: http
          containerPort: 8080
        {{- if .Values.admin }}
        - name: admin
          containerPort: 9090
        {{- end }}
        - name: health
          containerPort: 9091
      livenessProbe:
        httpGet:
          path: /healthz
          port: health
        periodSeconds: 10
        timeoutSeconds: 3
        failureThreshold: 3
      readinessProbe:
        httpGet:
          path: /readyz
          port: health
        periodSeconds: 5
        timeoutSeconds: 3
        failureThreshold: 2
      startupProbe:
        httpGet:
          path: /healthz
          port: health
        periodSeconds: 1
        failureThreshold: 60
      {{- if .Values.preStop }}
      lifecycle:
        preStop:
          sleep:
            seconds: {{ .Values.preStop }}
      {{- end }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
      volumeMounts:
        - name: config
          mountPath: /etc/hedgerow
          readOnly: true
        {{- if eq .Values.spool.kind "disk" }}
        - name: spool
          mountPath: /var/lib/hedgerow
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "hedgerow.name" . }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
