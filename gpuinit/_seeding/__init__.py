"""Any initialization code of torch's, with gpuinit's values in the place of each random draw."""
