"""``Hosts``: several hosts on one machine. Each is a network namespace with an address of its own, on one switch."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Hosts:
    """A switch in the first host, and a cable from it to each of the others.

    Parameters
    ----------
    n_hosts
        Number of hosts.

    Attributes
    ----------
    names
        Network namespaces.
    addresses
        Of the hosts.
    """

    def __init__(self, n_hosts: int) -> None:
        self.names = [f"streamh5-{os.getpid()}-{number}" for number in range(n_hosts)]
        self.addresses = [f"10.77.0.{number + 1}" for number in range(n_hosts)]
        self._made: list[str] = []

    def connect(self) -> None:
        """Make the hosts; the test is skipped where that is not permitted."""
        if shutil.which("ip") is None:
            pytest.skip("ip is missing (Debian: iproute2)")
        try:
            for name in self.names:
                ip("netns", "add", name)
                self._made.append(name)
                ip("-n", name, "link", "set", "lo", "up")
            first = self.names[0]
            ip("-n", first, "link", "add", "switch", "type", "bridge")
            ip("-n", first, "address", "add", f"{self.addresses[0]}/24", "dev", "switch")
            ip("-n", first, "link", "set", "switch", "up")
            for number, name in enumerate(self.names[1:], 1):
                cable = f"cable{number}"
                ip("-n", first, "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name)
                ip("-n", name, "address", "add", f"{self.addresses[number]}/24", "dev", "eth0")
                ip("-n", name, "link", "set", "eth0", "up")
                ip("-n", first, "link", "set", cable, "up")
                self.plug(number)
        except subprocess.CalledProcessError as error:
            self.remove()
            pytest.skip(f"no permission to make network namespaces: {error.stderr.strip()}")

    def plug(self, number: int) -> None:
        """Connect the cable of a host to the switch."""
        ip("-n", self.names[0], "link", "set", f"cable{number}", "master", "switch")

    def cut(self, number: int) -> None:
        """Pull the cable of a host out of the switch: packets are lost, nobody is told."""
        ip("-n", self.names[0], "link", "set", f"cable{number}", "nomaster")

    def remove(self) -> None:
        while self._made:
            ip("netns", "del", self._made.pop())
