"""What is measured, under the names of OpenTelemetry's conventions, and how it gets to OpenTelemetry and to Prometheus."""
