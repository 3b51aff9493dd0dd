"""What running models takes: devices, leases of GPUs, and loading open_clip and transformers models quietly."""
