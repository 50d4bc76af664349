#!/usr/bin/env bash
# End the Slurm that start-slurm.sh FOLDER has started: its jobs, then the three daemons noted there, and nothing else.
set -uo pipefail
[[ -n "${1:-}" ]] || { echo "stop-slurm: which folder? (stop-slurm.sh FOLDER)" >&2; exit 2; }
folder=$(cd "$1" && pwd -P) || exit 2
export SLURM_CONF=$folder/slurm.conf

ours() { # DAEMON: its process, where that is there and of this folder
    local pid
    pid=$(cat "$folder/run/$1.pid" 2>/dev/null) && [[ -n "$pid" ]] || return 1
    [[ "$(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null)" == *"$1 "*"$folder/"* ]] && echo "$pid"
}

# One that has ended but was not waited for has no command line.
there() { [[ -n "$(tr -d '\0' <"/proc/$1/cmdline" 2>/dev/null)" ]]; }

end_jobs() {
    local tries=100
    timeout 10 scancel --user="$(id -un)"
    while ((tries-- > 0)) && [[ -n "$(timeout 10 squeue --noheader --states=PENDING,RUNNING,COMPLETING)" ]]; do
        sleep 0.2
    done
}

end() { # DAEMON
    local pid tries=100
    pid=$(ours "$1") || return 0
    kill "$pid"
    while ((tries-- > 0)) && there "$pid"; do
        sleep 0.1
    done
    if there "$pid"; then
        kill -KILL "$pid"
    fi
    rm -f "$folder/run/$1.pid"
}

if ours slurmctld >/dev/null && ours slurmd >/dev/null; then
    end_jobs
fi
end slurmd
end slurmctld
end munged
