"""The networks that a configuration can name by `network.kind`, and how one is built."""

from model.gaitset import GaitSet, GaitSetConfig
from model.network import MetaGait, NetworkConfig

AnyNetworkConfig = NetworkConfig | GaitSetConfig
Network = MetaGait | GaitSet


def build_network(config: AnyNetworkConfig) -> Network:
    """Build a network laid out for the fast convolutions."""
    network = MetaGait(config) if isinstance(config, NetworkConfig) else GaitSet(config)
    return network.channels_last()
