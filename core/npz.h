#pragma once
// NumPy's archives of arrays (numpy.savez), in which flax programs keep weights: zip files of .npy files, read and
// written by libzip where the build has it: core/npz.cpp with it, core/npz_none.cpp without.

#include <string>

#include "core/safetensors.h"

namespace sked {

/// All arrays of a .npz file, stored or deflated, zip64 or not, by their names without .npy: tensors of the dtypes that
/// read_npy() reads; other integers, booleans, texts and objects as `skipped`, with NumPy's word for their dtype.
/// Throws Error naming the file and the array for other numbers (<f2, >f4, complex ones), Fortran order, a member that
/// is no .npy file, encrypted or compressed in another way, two of one name, a name that is absolute or has `..`, and
/// what is damaged (lengths, checksums). Nothing is allocated for an array before its length was held against its
/// shape, and all together may be no more than 16 times the file's size and 64 MiB.
TensorFile load_npz(const std::string& path);

/// Throws Error, as of a file that would be written, in a build without libzip.
void require_npz_writer(const std::string& path);

/// Writes tensors of f32, f64, i64 and u8, from any device, as numpy.savez does: each NAME.npy, stored, not compressed;
/// the same tensors are the same bytes. Through an AtomicFile; the archive is first made in memory, beside the tensors.
/// Throws Error for other dtypes, a name used twice or one that load_npz() does not take, and without libzip.
void save_npz(const std::string& path, const std::vector<NamedTensor>& tensors);

}  // namespace sked
