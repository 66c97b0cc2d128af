// truncate(x): x rounded toward zero, in place, in every floating type; exact, so 16-bit types go by way of float.
#pragma once
#include "ieee.cuh"

namespace gpuinit {

__device__ __forceinline__ void truncate(float &x) {
    asm("cvt.rzi.f32.f32 %0, %0;" : "+f"(x));
}

__device__ __forceinline__ void truncate(double &x) {
    asm("cvt.rzi.f64.f64 %0, %0;" : "+d"(x));
}

template <typename T>
__device__ __forceinline__ void truncate(T &x) {
    float wide = x;
    truncate(wide);
    x = T(wide);
}

}  // namespace gpuinit
