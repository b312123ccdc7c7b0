#include "tests/common/library_json.h"

template class nlohmann::basic_json<nlohmann::ordered_map>;

namespace sked::test {

LibraryJson library_json(const std::string& text) { return LibraryJson::parse(text); }

}  // namespace sked::test
