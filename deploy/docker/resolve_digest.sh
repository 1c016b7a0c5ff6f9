#!/usr/bin/env bash
# Prints IMAGE@sha256:DIGEST of a tag, by the first tool that is there: resolve_digest.sh python:3.11-slim-bookworm
set -euo pipefail
image=${1:?usage: resolve_digest.sh IMAGE:TAG}

if docker buildx version >/dev/null 2>&1; then
    digest=$(docker buildx imagetools inspect "$image" --format '{{json .Manifest.Digest}}' | tr -d '"')
elif command -v crane >/dev/null; then
    digest=$(crane digest "$image")
elif command -v skopeo >/dev/null; then
    digest=$(skopeo inspect --format '{{.Digest}}' "docker://$image")
else
    echo "no tool that asks a registry for a digest: install docker with buildx, or crane, or skopeo" >&2
    exit 2
fi
if [[ ! $digest =~ ^sha256:[0-9a-f]{64}$ ]]; then
    echo "$image: the registry gave no digest, but: $digest" >&2
    exit 3
fi
echo "$image@$digest"
