"""The networks that a configuration can select with `network.kind`, and how to build one."""

from model.gaitset import GaitSet, GaitSetConfig
from model.network import MetaGait, NetworkConfig

AnyNetworkConfig = NetworkConfig | GaitSetConfig
Network = MetaGait | GaitSet


def build_network(config: AnyNetworkConfig) -> Network:
    """Build a network in the memory layout for fast convolutions."""
    network = MetaGait(config) if isinstance(config, NetworkConfig) else GaitSet(config)
    return network.channels_last()
