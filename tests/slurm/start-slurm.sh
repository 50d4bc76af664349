#!/usr/bin/env bash
# Start a Slurm of one node on this machine's loopback, for tests: munged, slurmctld and slurmd from Debian's packages
# (apt-get install --no-install-recommends munge slurm-wlm), without systemd, data base or cgroups, as root or not.
#
#   start-slurm.sh FOLDER [PORT]     everything is kept in FOLDER; PORT (16817) and the 31 after it are used
#   start-slurm.sh --check           whether Slurm can be started here; exit 3 and a sentence where it cannot
#
# Then Slurm's commands talk to it where SLURM_CONF is FOLDER/slurm.conf and FOLDER/bin comes first on the PATH.
# stop-slurm.sh FOLDER ends it. A second start finds the daemons there and starts those that are missing.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
host=$(uname -n)
host=${host%%.*}

cannot() { echo "start-slurm: $*" >&2; exit 3; }

check() {
    local name
    for name in munged munge slurmctld slurmd srun sbatch squeue scancel scontrol sinfo; do
        command -v "$name" >/dev/null || cannot "there is no '$name' (Debian's packages munge and slurm-wlm have it)"
    done
    # The daemons listen at the address of the host's name, which is to be one that only this machine reaches.
    [[ "$(getent ahostsv4 "$host" || true)" == 127.* ]] ||
        cannot "the host's name '$host' is not on the loopback (add the line '127.0.0.1 $host' to /etc/hosts)"
}

fail() {
    local log
    echo "start-slurm: $*" >&2
    for log in "$folder"/log/*.log; do
        echo "== the end of $log" >&2
        tail -n 15 "$log" >&2
    done
    exit 1
}

within() { # SECONDS COMMAND...: whether it succeeds before they are over
    local tries=$(($1 * 10))
    shift
    until "$@" >/dev/null 2>&1; do
        ((tries-- > 0)) || return 1
        sleep 0.1
    done
}

running() { # DAEMON: whether the process noted is there, and is of this folder
    local pid
    pid=$(cat "$folder/run/$1.pid" 2>/dev/null) && [[ -n "$pid" ]] || return 1
    [[ "$(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null)" == *"$1 "*"$folder/"* ]]
}

free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
munge_answers() { munge --no-input --socket="$folder/run/munge.socket" | unmunge --socket="$folder/run/munge.socket"; }
node_is_ready() { sinfo --noheader --Node --format=%T | grep --quiet --extended-regexp '^(idle|mixed|allocated)$'; }

write_configuration() {
    local user
    user=$(id -un)
    # Memory and processors are what jobs may reserve, more than there is: tests reserve far more than they use.
    # MinJobAge: squeue still tells the end of a job then. UsePss: pages that processes share count once.
    cat >"$folder/slurm.conf" <<CONF
ClusterName=armed
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SrunPortRange=$((port + 2))-$((port + 31))
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$folder/run/munge.socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/run/slurmctld.pid
SlurmdPidFile=$folder/run/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.log
JobCompType=jobcomp/filetxt
JobCompLoc=$folder/log/jobs.txt
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill,UsePss
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,bf_interval=1
MinJobAge=600
KillWait=15
ReturnToService=2
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=16 RealMemory=64000 Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes=$host Default=YES DefaultTime=5 MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=$host DefaultTime=5 MaxTime=INFINITE State=UP
CONF
    # A GPU to reserve, none to use: Slurm wants a device's file.
    echo "NodeName=$host Name=gpu File=/dev/null" >"$folder/gres.conf"
    # Snakemake's jobs start srun without SLURM_CONF, but with the PATH.
    printf '#!/bin/sh\nSLURM_CONF=%q exec %q "$@"\n' "$SLURM_CONF" "$(command -v srun)" >"$folder/bin/srun"
    chmod 755 "$folder/bin/srun"
}

start_daemons() {
    if ! running munged; then
        rm -f "$folder/run/munge.socket"*
        [[ -s "$folder/munge.key" ]] || (umask 077 && head -c 1024 /dev/urandom >"$folder/munge.key")
        # By force, as it wants a folder that all users reach; here there is one user.
        munged --force --key-file="$folder/munge.key" --socket="$folder/run/munge.socket" \
            --pid-file="$folder/run/munged.pid" --seed-file="$folder/run/munged.seed" \
            --log-file="$folder/log/munged.log" >&2 || fail "munged does not start"
        within 10 munge_answers || fail "munged does not answer"
    fi
    if ! running slurmctld; then
        if ! free "$port" || ! free $((port + 1)); then
            fail "port $port or $((port + 1)) is taken (give another)"
        fi
        slurmctld -i -f "$SLURM_CONF" >&2 || fail "slurmctld does not start"
        within 20 scontrol ping || fail "slurmctld does not answer"
    fi
    if ! running slurmd; then
        slurmd -f "$SLURM_CONF" >&2 || fail "slurmd does not start"
    fi
    within 20 running slurmctld || fail "slurmctld has ended"
    within 20 running slurmd || fail "slurmd has ended"
    within 30 node_is_ready || fail "the node is not ready: $(sinfo --noheader --Node --format='%T %E' 2>&1)"
}

[[ -n "${1:-}" ]] || { echo "start-slurm: which folder? (start-slurm.sh FOLDER [PORT])" >&2; exit 2; }
check
[[ "$1" != --check ]] || exit 0
umask 022
mkdir -p "$1"/{bin,log,run,spool,state}
folder=$(cd "$1" && pwd -P)
port=${2:-16817}
export SLURM_CONF=$folder/slurm.conf
running slurmctld || write_configuration # a second start keeps the ports of the first
export PATH=$folder/bin:$PATH
start_daemons
