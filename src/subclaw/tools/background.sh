# Commands in the background, each with a folder of its own below ~/.background, of which its id is the name:
#   command   what is run, as the host has written it
#   log       what it and all that it started put out
#   started   the boot of the machine in which it runs, its control group, and how it begins
#   status    the exit status of its shell, when that has ended
#   ended     in words how it was ended, if it was
#
# The guest agent gives each call a control group, in which everything stays that the call leaves running, whatever
# process group, session or parent it has or had. Other than a process's number, a group's is not used again in a boot.
#
# The host puts a line behind this that says what to do; BACKGROUND_ID says with which, BACKGROUND_LABEL how it begins.
# Programs are dear in a machine without KVM, so that what can be done without one is.

folder=$HOME/.background
kept=20
id=$BACKGROUND_ID
begins=$BACKGROUND_LABEL
unset BACKGROUND_ID BACKGROUND_LABEL
read -r this_boot </proc/sys/kernel/random/boot_id

# Puts into $boot, $group and $label where a command was started and how it begins, and succeeds if any of it runs.
# $1 is its folder, here and below.
runs() {
    boot='' group='' label=''
    read -r boot group label 2>/dev/null <"$1/started"
    case $group in /sys/fs/cgroup/commands/[0-9]*) ;; *) return 1 ;; esac
    [ "$boot" = "$this_boot" ] && read -r _ 2>/dev/null <"$group/cgroup.procs"
}

# Waits until nothing of a command runs any more, and fails if that takes longer than so many seconds.
gone() {
    read -r now _ </proc/uptime
    deadline=$((${now%.*} + $2))
    while runs "$1"; do
        read -r now _ </proc/uptime
        [ "${now%.*}" -lt "$deadline" ] || return 1
        sleep 0.1
    done
}

# Tells in a line what became of a command.
state() {
    status='' ended=''
    read -r status 2>/dev/null <"$1/status"
    read -r ended 2>/dev/null <"$1/ended"
    if runs "$1"; then
        said="runs${status:+ on, though its shell has ended with exit status $status}"
    elif [ "$ended$status" ]; then
        said="${ended:-ended by itself}${status:+, exit status $status}"
    elif [ ! "$boot" ]; then
        said='did not start'
    elif [ "$boot" != "$this_boot" ]; then
        said='is gone: the machine was started anew since'
    else
        said='was killed'
    fi
    printf '%s\n' "${1##*/} $said: $label"  # `echo` would take what is in it for more than letters
}

# Puts the ids of all commands into $ids. What is given says in which order.
find_ids() {
    ids=$([ ! -d "$folder" ] || ls "$@" "$folder")
}

list() {
    find_ids -t
    [ "$ids" ] || echo 'Nothing was started in the background.'
    for listed in $ids; do
        state "$folder/$listed"
    done
    [ ! "$ids" ] || tail -v -c 300 "$folder"/*/log 2>/dev/null
    return 0
}

# Forgets commands that have ended, the oldest first, as long as there are too many. Fails if too many run.
make_room() {
    find_ids -tr
    set -- $ids
    count=$#
    for old; do
        [ "$count" -gt "$kept" ] || return 0
        [ "$old" = "$id" ] || runs "$folder/$old" || { rm -rf "${folder:?}/$old" && count=$((count - 1)); }
    done
    [ "$count" -le "$kept" ]
}

# Puts this call's control group into $group. The agent moves the call there while it begins.
find_group() {
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        IFS=: read -r _ _ group <"/proc/$$/cgroup"
        case $group in /commands/[0-9]*) group=/sys/fs/cgroup$group && return ;; esac
        sleep 0.2
    done
    return 1
}

give_up() {
    rm -rf "${folder:?}/$id"
    echo "$1"
    exit 1
}

start() {
    mine=$folder/$id
    make_room || give_up "$kept commands run in the background already. Stop one first."
    find_group || give_up 'It could not be started. Try again.'
    printf '%s\n' "$this_boot $group $begins" >"$mine/started" || give_up 'It could not be started.'
    # The outer shell lives on when all are asked to end, so that it can tell the status.
    setsid sh -c 'trap : HUP INT TERM; sh "$1/command" >"$1/log" 2>&1; echo $? >"$1/status"' background "$mine" \
        </dev/null >/dev/null 2>&1 &
    # One that cannot begin, since a port is taken or a name is wrong, ends soon, and that is worth a second.
    for _ in 1 2 3 4 5; do
        [ ! -s "$mine/status" ] || break
        sleep 0.2
    done
    if read -r status 2>/dev/null <"$mine/status"; then
        echo "It has ended already, exit status $status. Its id is $id."
    else
        echo "It runs, with the id $id. It stands still while your machine sleeps."
    fi
    tail -v -c 2000 "$mine/log" 2>/dev/null
    return 0
}

stop() {
    mine=$folder/$id
    if [ ! -d "$mine" ]; then
        echo "There is no command $id."
        list
        exit 1
    fi
    if runs "$mine"; then
        how=stopped
        kill $(cat "$group/cgroup.procs") 2>/dev/null
        if ! gone "$mine" 5; then
            how='was killed, since it did not stop within 5 s'
            echo 1 >"$group/cgroup.kill"
            gone "$mine" 5 || how='could not be killed'
        fi
        echo "$how" >"$mine/ended"
    fi
    state "$mine"
    tail -v -c 2000 "$mine/log" 2>/dev/null
    return 0
}
