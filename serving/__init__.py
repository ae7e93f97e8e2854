"""What runs the stages: hosts, buses, edges. It knows the network, the clock and the disk; hft_lib does not."""
