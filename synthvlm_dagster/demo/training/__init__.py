"""How the demo's models are trained: one module per model, plain PyTorch on a CPU or a GPU."""
