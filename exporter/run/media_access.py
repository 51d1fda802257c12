"""Opens the way to the hosts of recordings that the options of a run admit, and finds the key that encrypts them."""

from exporter.fetch.media.address import AddressRule
from exporter.fetch.media.client import MediaClient
from exporter.fetch.pace.bandwidth import Bandwidth
from exporter.keys import Key
from exporter.media_cipher import check_installed
from exporter.parts.cipher import current
from exporter.run.context import RunContext
from exporter.settings import RecordingSettings


def rule_of(settings: RecordingSettings) -> AddressRule:
    """Returns which addresses may be asked."""
    return AddressRule(hosts=settings.hosts, ports=settings.ports, networks=settings.networks)


def new_client(context: RunContext) -> MediaClient:
    """Returns a client, which must be entered, with a bandwidth of its own."""
    settings = context.settings.recordings
    return MediaClient(
        rule_of(settings),
        bandwidth=Bandwidth(settings.bytes_per_second),
        ca_file=context.settings.ca_file,
        environment=context.credentials.proxies,
    )


def media_key() -> Key | None:
    """Returns the key with which the export that is at hand encrypts its recordings; None if it keeps them as they are
    served. Raises `UsageError` if the package that encrypts is not installed."""
    cipher = current()
    if cipher is None or cipher.encryption.recordings == "plain":
        return None
    check_installed()
    return cipher.keys[0]
