// What prelude.h declares to be compiled here.

template class std::basic_string<char>;
template class std::vector<std::string>;
template class std::vector<int>;
template class std::vector<int64_t>;
template class std::vector<float>;
template class std::vector<double>;
template class std::vector<unsigned char>;
template class std::map<std::string, std::string>;
