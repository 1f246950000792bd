// The functions behind the table of filters.cpp.
#pragma once

#include "lrqat/chat/filters.h"

namespace lrqat::chat {

// text_filters.cpp
Value filter_upper(Runtime&, const Value&, const Bound&);
Value filter_lower(Runtime&, const Value&, const Bound&);
Value filter_capitalize(Runtime&, const Value&, const Bound&);
Value filter_title(Runtime&, const Value&, const Bound&);
Value filter_trim(Runtime&, const Value&, const Bound&);
Value filter_replace(Runtime&, const Value&, const Bound&);
Value filter_indent(Runtime&, const Value&, const Bound&);
Value filter_center(Runtime&, const Value&, const Bound&);
Value filter_truncate(Runtime&, const Value&, const Bound&);
Value filter_wordcount(Runtime&, const Value&, const Bound&);
Value filter_format(Runtime&, const Value&, const Bound&);
Value filter_string(Runtime&, const Value&, const Bound&);
Value filter_safe(Runtime&, const Value&, const Bound&);
Value filter_escape(Runtime&, const Value&, const Bound&);
Value filter_forceescape(Runtime&, const Value&, const Bound&);
Value filter_urlencode(Runtime&, const Value&, const Bound&);

// list_filters.cpp
Value filter_length(Runtime&, const Value&, const Bound&);
Value filter_list(Runtime&, const Value&, const Bound&);
Value filter_first(Runtime&, const Value&, const Bound&);
Value filter_last(Runtime&, const Value&, const Bound&);
Value filter_join(Runtime&, const Value&, const Bound&);
Value filter_reverse(Runtime&, const Value&, const Bound&);
Value filter_items(Runtime&, const Value&, const Bound&);
Value filter_map(Runtime&, const Value&, const Bound&);
Value filter_select(Runtime&, const Value&, const Bound&);
Value filter_reject(Runtime&, const Value&, const Bound&);
Value filter_selectattr(Runtime&, const Value&, const Bound&);
Value filter_rejectattr(Runtime&, const Value&, const Bound&);
Value filter_batch(Runtime&, const Value&, const Bound&);
Value filter_slice(Runtime&, const Value&, const Bound&);
Value filter_attr(Runtime&, const Value&, const Bound&);

// sort_filters.cpp
Value filter_sort(Runtime&, const Value&, const Bound&);
Value filter_dictsort(Runtime&, const Value&, const Bound&);
Value filter_unique(Runtime&, const Value&, const Bound&);
Value filter_groupby(Runtime&, const Value&, const Bound&);
Value filter_min(Runtime&, const Value&, const Bound&);
Value filter_max(Runtime&, const Value&, const Bound&);

// number_filters.cpp
Value filter_abs(Runtime&, const Value&, const Bound&);
Value filter_int(Runtime&, const Value&, const Bound&);
Value filter_float(Runtime&, const Value&, const Bound&);
Value filter_round(Runtime&, const Value&, const Bound&);
Value filter_sum(Runtime&, const Value&, const Bound&);
Value filter_filesizeformat(Runtime&, const Value&, const Bound&);

}  // namespace lrqat::chat
