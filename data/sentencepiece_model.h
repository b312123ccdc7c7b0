#pragma once
// What SentencePiece's library takes on trust when it loads a model file, checked before.

#include <string>
#include <string_view>

namespace sked {

/// Throws Error naming `source` unless these bytes are a model (a protobuf message ModelProto of
/// sentencepiece_model.proto) that the library can load and run without reading outside its memory, ending the process
/// or needing more than a fixed multiple of the text: unigram or BPE, pieces of UTF-8 with finite scores, a normalizer
/// whose trie stays in its bounds.
void check_sentencepiece_model(std::string_view bytes, const std::string& source);

}  // namespace sked
