#!/usr/bin/env bash
# Submits tonight's job and waits: submit.sh RUN_DATE SUMMARY_FILE. nightly.yml calls it, until `rubert-ood submit` stands here.
#
# The submission id is fixed by the day, so that a second start finds the job of the first and waits for it; only when that
# one has failed a next one is submitted, under the same day, which does what is not done. The status is polled, never
# followed: a connection that breaks is asked again. Ends with the exit code of the command, as Ray's message has it (README,
# "Exit codes"), or with 6. `SUBMIT` may give another command, POLL_S other seconds.
set -euo pipefail
run_date=${1:?usage: submit.sh RUN_DATE SUMMARY_FILE}
summary=${2:?usage: submit.sh RUN_DATE SUMMARY_FILE}
submit=${SUBMIT:-python jobs/score.py --config jobs/score.yaml --run_date $run_date}

for attempt in 1 2 3 4 5 6 7 8 9; do
    id=score-$run_date-$attempt
    said=''
    while true; do
        text=$(ray job status "$id" 2>&1) || true
        case $text in
            *"Job '$id' succeeded"*)
                echo "$id succeeded" | tee -a "$summary"
                exit 0 ;;
            *"Job '$id' failed"* | *"Job '$id' was stopped"*)
                code=$(grep -oE 'failed with exit code [0-9]+' <<<"$text" | head -1 | grep -oE '[0-9]+$') || code=6
                # It had failed before this start: a next one.
                [ -n "$said" ] || continue 2
                { echo "$id ended with exit code $code"; grep -v '^$' <<<"$text" | tail -30; } | tee -a "$summary"
                exit "$code" ;;
            *"Status for job '$id'"*)
                line=$(grep -oE "Status for job '.*" <<<"$text" | head -1)
                [ "$line" = "$said" ] || echo "$line"
                said=$line ;;
            *"does not exist"*)
                echo "submitting $id: $submit"
                said=submitted
                # shellcheck disable=SC2086 # words of a command
                ray job submit --no-wait --submission-id "$id" --working-dir . \
                    --runtime-env-json '{"excludes": [".ray_token", "build"]}' -- $submit || true ;;
            *)
                echo "no answer: $(tail -1 <<<"$text" | cut -c1-200)" ;;
        esac
        sleep "${POLL_S:-30}"
    done
done
echo "nine attempts of $run_date have failed: look at them (docs/runbook.md)" | tee -a "$summary"
exit 6
