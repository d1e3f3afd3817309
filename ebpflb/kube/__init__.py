"""The Kubernetes API as a source. The only place that knows the API client."""
