"""What processes and the machine use at one moment, as rows of the history."""

from typing import Literal

import psutil

from poolproof.clock import now_ns
from poolproof.history import Host, Usage
from poolproof.processes import Process

Role = Literal["worker", "lab", "other"]


def of_process(process: Process, role: Role) -> Usage | None:
    """What a process uses; None where it is gone, or not ours to look at."""
    try:
        found = psutil.Process(process.pid)
        with found.oneshot():
            memory, times, switches = found.memory_full_info(), found.cpu_times(), found.num_ctx_switches()
            return Usage(
                at=now_ns(),
                pid=process.pid,
                start_time=process.start_time,
                role=role,
                cpu_s=times.user + times.system,
                rss_bytes=memory.rss,
                pss_bytes=memory.pss,
                uss_bytes=memory.uss,
                threads=found.num_threads(),
                files=found.num_fds(),
                waits=switches.voluntary,
                preemptions=switches.involuntary,
            )
    except psutil.Error:
        return None


def of_host() -> Host:
    """What the whole machine is at."""
    times = psutil.cpu_times()
    idle_s = times.idle + times.iowait
    # Time in virtual machines of its own stands under `user` already, time stolen by others is nobody's here.
    busy_s = times.user + times.nice + times.system + times.irq + times.softirq
    return Host(at=now_ns(), busy_s=busy_s, idle_s=idle_s, available_bytes=psutil.virtual_memory().available)
