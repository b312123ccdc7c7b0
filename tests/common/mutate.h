#pragma once
// Small damage to files, drawn: what disks, downloads, editors and attackers do.

#include <string>

#include "core/rng.h"

namespace sked::test {

/// `original` with one to four changes: bits, bytes and stretches flipped, cut out, doubled, moved, filled or made up,
/// integers of 2, 4 and 8 bytes set to extremes; in a text also numbers and words exchanged and deep nesting.
std::string mutated(std::string original, bool text, Rng& rng);

/// A gzip file of one member that holds `bytes` as they are.
std::string gzipped(const std::string& bytes);

/// A tar archive whose headers' checksums are right again: no damage to them would get any further.
std::string with_checksums(std::string archive);

}  // namespace sked::test
