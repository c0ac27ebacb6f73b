"""The facts of the machine that figures depend on."""

import os
import platform
import subprocess

import psutil
from devstack.databases import program
from devstack.kafka_jars import KAFKA_VERSION


def facts() -> dict[str, str]:
    """Name and value of each, as of now."""
    version = subprocess.run([program("postgres"), "--version"], capture_output=True, text=True, check=True).stdout
    return {
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "system": f"{platform.system()} {platform.release()} ({platform.machine()})",
        "Python": f"{platform.python_version()} ({' '.join(platform.python_build())}, {platform.python_compiler()})",
        "PostgreSQL": version.split()[2],
        "Kafka": KAFKA_VERSION,
        "load average before": ", ".join(f"{load:.2f}" for load in os.getloadavg()),
    }
