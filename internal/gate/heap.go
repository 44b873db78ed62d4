package gate

// heap is a binary heap. Each item knows its place, so any item can be removed in O(log n).
type heap[T interface{ place() *int }] struct {
	items []T
	less  func(a, b T) bool
}

func (h *heap[T]) len() int { return len(h.items) }

func (h *heap[T]) push(t T) {
	h.items = append(h.items, t)
	*t.place() = len(h.items)
	h.up(len(h.items) - 1)
}

// remove removes an item that is in the heap.
func (h *heap[T]) remove(t T) {
	i, last := *t.place()-1, len(h.items)-1
	h.swap(i, last)
	var none T
	h.items[last], h.items = none, h.items[:last]
	*t.place() = 0
	if i < last {
		h.fix(h.items[i])
	}
}

// fix moves an item whose order has changed.
func (h *heap[T]) fix(t T) {
	if i := *t.place() - 1; !h.up(i) {
		h.down(i)
	}
}

func (h *heap[T]) up(i int) (moved bool) {
	for i > 0 {
		parent := (i - 1) / 2
		if !h.less(h.items[i], h.items[parent]) {
			break
		}
		h.swap(i, parent)
		i, moved = parent, true
	}
	return moved
}

func (h *heap[T]) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(h.items); child++ {
			if h.less(h.items[child], h.items[least]) {
				least = child
			}
		}
		if least == i {
			return
		}
		h.swap(i, least)
		i = least
	}
}

func (h *heap[T]) swap(i, j int) {
	h.items[i], h.items[j] = h.items[j], h.items[i]
	*h.items[i].place(), *h.items[j].place() = i+1, j+1
}
