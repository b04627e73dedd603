"""The host names with TLS."""
HUB_NAME = "hub.localhub.test"
JOBS_DOMAIN = "hf.jobs"  # PROTOCOL 3, Jobs proxy
