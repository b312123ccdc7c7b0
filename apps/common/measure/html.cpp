#include "apps/common/measure/html.h"

#include "core/text.h"

namespace sked {

std::string escaped(const std::string& text) {
  std::string result;
  for (char c : printable(text)) {
    if (c == '<')
      result += "&lt;";
    else if (c == '>')
      result += "&gt;";
    else if (c == '&')
      result += "&amp;";
    else if (c == '"')
      result += "&quot;";
    else
      result += c;
  }
  return result;
}

}  // namespace sked
