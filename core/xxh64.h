#pragma once
// XXH64, a checksum at the speed of memory (Collet, https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md):
// finds damage, not ill will.

#include <cstddef>
#include <cstdint>
#include <string>

namespace sked {

/// XXH64 of `count` bytes with seed 0; the same as 16 hexadecimal digits.
uint64_t xxh64_value(const void* bytes, size_t count);
std::string xxh64(const void* bytes, size_t count);

}  // namespace sked
