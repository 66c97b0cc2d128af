"""From any library's array to a write on the CPU (`host`) or a GPU (`cuda`)."""
