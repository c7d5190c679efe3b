"""What the GPU backends share: CUDA C compiled by CuPy, Numba CUDA, and the question whether either works here."""
