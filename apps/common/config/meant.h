#pragma once
// What somebody meant by a key that there is not.

#include <string>
#include <vector>

namespace sked {

/// One clause on the key `typed`, of which `keys` are those there are: `did you mean schedule.peak?` for `train.lr`,
/// which other programs call it, for a word that stands in another section, and for one that is misspelled;
/// `did you mean --device?` for what is an option; else which keys, or sections, there are.
std::string meant_by(const std::string& typed, const std::vector<std::string>& keys);

/// The key of a section that says what it is: `model.name` of `model`; the section's first where none does.
std::string main_key(const std::string& section, const std::vector<std::string>& keys);

}  // namespace sked
