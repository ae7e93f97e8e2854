"""The image that every component runs in: the project's of the pipelines, at its version."""

# What `TAG=0.1.0 scripts/docker-build.sh pipelines` builds; `submit --image` names another.
IMAGE = "hft-crypto-bot-pipelines:0.1.0"
