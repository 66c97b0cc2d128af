// Householder reflectors from rows of normals (Stewart 1980), in the form that LAPACK's orgqr and ungqr take.
// Row j, from element j on, is the vector x; H = I - tau v v*, v = (1, ...), maps it to (beta, 0, ...), beta = -phase(x[j]) |x|.
// One code for real and complex numbers, which lie in arrays of reals as one part or as two: load, store and write know of it.
// Three steps, of which each call does an element: cut_below_heads, make_reflectors, turned_back.
#pragma once
#include "ieee.cuh"

namespace gpuinit {

template <typename W>
struct Complex {
    W re, im;
};

template <typename W, typename Array>
__device__ __forceinline__ Complex<W> load(const Array &x, i64 i, int parts) {
    return {x[parts * i], parts == 2 ? x[parts * i + 1] : W(0)};
}

template <typename W, typename Array>
__device__ __forceinline__ void store(Array &x, i64 i, int parts, Complex<W> value) {
    x[parts * i] = value.re;
    if (parts == 2) x[parts * i + 1] = value.im;
}

template <typename T, typename W>
__device__ __forceinline__ void write(T &x, Complex<W> value) {
    reinterpret_cast<typename Rounded<T>::Bits &>(x) = Rounded<T>::bits(value.re);
}

template <typename W>
__device__ __forceinline__ void write(complex<W> &x, Complex<W> value) {
    x = complex<W>(value.re, value.im);
}

template <typename W>
__device__ __forceinline__ Complex<W> scale(Complex<W> a, W factor) {
    return {multiply(a.re, factor), multiply(a.im, factor)};
}

template <typename W>
__device__ __forceinline__ Complex<W> product(Complex<W> a, Complex<W> b) {
    return {subtract(multiply(a.re, b.re), multiply(a.im, b.im)), add(multiply(a.re, b.im), multiply(a.im, b.re))};
}

template <typename W>
class Reflector {
    W length, norm;   // of x[j] and of x
    Complex<W> turn;  // x[j]'s phase
    bool identity;    // of a single number, as in a square matrix's last row, or of zeros

  public:
    __device__ __forceinline__ Reflector(Complex<W> head, W squares, bool last)
        : length(square_root(add(multiply(head.re, head.re), multiply(head.im, head.im)))),
          norm(square_root(squares)),
          turn{W(1), W(0)},
          identity(last || Real<W>::bits(norm) == 0) {
        if (Real<W>::bits(length) != 0) turn = {divide(head.re, length), divide(head.im, length)};
    }

    // An element of v below its first, from that of x.
    __device__ __forceinline__ Complex<W> scaled(Complex<W> x) const {
        if (identity) return {W(0), W(0)};
        const W reach = add(length, norm);
        const Complex<W> turned = product(x, {turn.re, multiply(turn.im, W(-1))});
        return {divide(turned.re, reach), divide(turned.im, reach)};
    }

    __device__ __forceinline__ Complex<W> tau() const {
        return {identity ? W(0) : add(W(1), divide(length, norm)), W(0)};
    }

    // The phase of R's diagonal element: beta's, or the number's own.
    __device__ __forceinline__ Complex<W> phase() const { return identity ? turn : scale(turn, W(-1)); }
};

// Element i of the normals, element k of row j: row j's head to `heads`, zeros before it.
template <typename W, typename Rows, typename Heads>
__device__ __forceinline__ void cut_below_heads(Rows &x, Heads &heads, i64 i, i64 length, int parts) {
    const i64 j = i / length, k = i % length;
    for (int p = 0; p < parts; ++p) {
        if (k == j) heads[parts * j + p] = x[parts * i + p];
        if (k < j) x[parts * i + p] = W(0);
    }
}

// The same element, made one of row j's reflector; at its head, the reflector's tau and the phase of R's diagonal too.
template <typename W, typename Rows, typename Taus, typename Phases, typename Heads, typename Squares>
__device__ __forceinline__ void make_reflectors(
    Rows &x, Taus &taus, Phases &phases, i64 i, i64 length, int parts, const Heads &heads, const Squares &squares) {
    const i64 j = i / length, k = i % length;
    const Reflector<W> r(load<W>(heads, j, parts), squares[j], j == length - 1);
    if (k == j) {
        store(taus, j, parts, r.tau());
        store(phases, j, parts, r.phase());
    }
    store(x, i, parts, r.scaled(load<W>(x, i, parts)));
}

// Element i of the result, of `columns` columns: that of Q times its reflector's phase and the gain.
template <typename W, typename Rows, typename Phases>
__device__ __forceinline__ Complex<W> turned_back(
    const Rows &q, const Phases &phases, W gain, i64 i, i64 length, i64 columns, bool tall, int parts) {
    const i64 row = i / columns, column = i % columns;
    const i64 j = tall ? column : row, k = tall ? row : column;
    return product(load<W>(q, j * length + k, parts), scale(load<W>(phases, j, parts), gain));
}

}  // namespace gpuinit
