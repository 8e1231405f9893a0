# cython: auto_pickle=False
"""The tape: what was called on Tensors, and the way back through it.

A public function of `fastconv.functional` is an `Op`. A call without Tensors goes to the function
itself, after a look at the type of every argument. One with a Tensor gives a Tensor; where a
gradient is wanted it leaves a `Node`: the op, its arguments, what its gradients take, and the nodes
of its operands. Nodes are numbered as they are recorded, so whoever goes through them from the last
to the first meets each after all that used its result. A Tensor holds its node, and a node holds
those before it and the leaves that it used, but no other Tensor: what is dropped is freed.
"""

cimport cython
from cpython.object cimport PyObject, PyTypeObject
from libc.stdint cimport int64_t
from fastconv._drivers.memory cimport Memory

from contextvars import ContextVar
from functools import update_wrapper
from itertools import count
from operator import attrgetter
from types import FunctionType, MethodType

import numpy as np

from fastconv._buffers import fingerprint
from fastconv._ops import RELU, activation

cdef extern from *:
    """
    #define FC_SET_VECTORCALL(type, field) \
        ((type)->tp_vectorcall_offset = (field), (type)->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL)
    """
    void FC_SET_VECTORCALL(PyTypeObject *type, Py_ssize_t field)

cdef extern from "Python.h":
    const size_t ARGUMENTS_OFFSET "PY_VECTORCALL_ARGUMENTS_OFFSET"
    Py_ssize_t PyVectorcall_NARGS(size_t)
    object PyObject_Vectorcall(PyObject *, PyObject *const *, size_t, PyObject *)
    PyObject **PySequence_Fast_ITEMS(list)
    void Py_INCREF(object)
    Py_ssize_t Py_REFCNT(PyObject *)

cdef extern from *:
    """
    /* Whether what is on the stack of the caller is counted among an object's references. */
    #if PY_VERSION_HEX < 0x030E0000 && !defined(Py_GIL_DISABLED)
    #define FC_STACK_COUNTS 1
    #else
    #define FC_STACK_COUNTS 0
    #endif
    """
    bint STACK_COUNTS "FC_STACK_COUNTS"

ctypedef PyObject *(*vectorcall)(PyObject *, PyObject *const *, size_t, PyObject *) except NULL

cdef enum:
    TAKES_ANY = 0x04 | 0x08  # flags of functions with *args or **kwargs

cdef object ndarray = np.ndarray, asarray = np.asarray, share_memory = np.may_share_memory
cdef object MISSING = object()
cdef object next_number = count().__next__

grad_enabled = ContextVar("fastconv_grad_enabled", default=True)
cdef object is_enabled = grad_enabled.get

# what `fastconv.autograd` sets: the class of results, a sum of gradients, ReLU and its gradient
cdef object Tensor = None, add = None, relu = None, relu_backward = None


def set_tensor(tensor, add_gradients, relu_op, relu_gradient):  # -> None
    """Results are of the class `tensor` from now on."""
    global Tensor, add, relu, relu_backward
    Tensor, add, relu, relu_backward = tensor, add_gradients, relu_op, relu_gradient


cdef class Variable:
    """What a Tensor holds."""
    cdef public object _array
    cdef public Node _node          # None: a leaf
    cdef public bint _requires_grad
    cdef public bint _sealed        # read-only, and no writable array has the same memory
    cdef public Variable _source    # whose memory this is, where that may be written to
    cdef public int64_t _version    # of what fastconv has written
    cdef Stamp _stamp               # what the memory was when it was kept last
    cdef public object grad
    cdef object __weakref__

    def owner(self):  # -> Any
        """The Tensor whose memory this is: itself, or what it is a view of."""
        return owner_of(self)

    cpdef exposed(self):  # -> NDArray[Any]
        """The array, for somebody who may write to it."""
        cdef Variable source = owner_of(self)
        cdef Stamp stamp = source._stamp
        if stamp is not None:
            # besides the Tensor and this function, guards have it of what backward is to go through
            if stamp.fingerprint is None and Py_REFCNT(<PyObject *> stamp) > 2:
                stamp.fingerprint = fingerprint(source._array)
            source._stamp = None
        return self._array

    cpdef written(self):  # -> NDArray[Any]
        """The array, which fastconv writes to now: whoever needs what it was will find out."""
        cdef Variable source = owner_of(self)
        source._version += 1
        source._stamp = None
        return self._array


cdef inline Variable owner_of(Variable tensor):
    return tensor if tensor._source is None else tensor._source


# ---------------------------------------------------------------- what must not change

@cython.final
cdef class Stamp:
    """What a Tensor's memory was when it was kept.

    The version counts what fastconv itself wrote: an optimiser's step, for one. The fingerprint is
    of the elements. Where nobody but the Tensor has the array it is left open until somebody asks
    for the array, since nobody can have changed it before.
    """
    cdef int64_t version
    cdef object fingerprint


@cython.final
cdef class Guard:
    """An array that backward needs as it was, and that somebody may write to."""
    cdef readonly str name
    cdef readonly Variable tensor
    cdef object array  # instead of a Tensor
    cdef Stamp stamp

    cpdef check(self, str op):
        """Raise an error if it was changed."""
        cdef Stamp stamp = self.stamp
        array = self.array if self.tensor is None else self.tensor._array
        if ((self.tensor is not None and self.tensor._version != stamp.version)
                or (stamp.fingerprint is not None and fingerprint(array) != stamp.fingerprint)):
            raise RuntimeError(
                f"{self.name} of {op}, of shape {array.shape}, was changed between the forward "
                "pass and backward, which needs it as it was: call backward() first, or change a "
                "copy")


cdef bint is_shared(PyObject *array) except -1:
    """Whether anybody but the Tensor that holds an array may have it, or one of the same memory."""
    if Py_REFCNT(array) > 1:
        return True
    base = (<object> array).base
    while base is not None:
        if Py_REFCNT(<PyObject *> base) > 2:  # the array's and this variable's
            return True
        if type(base) is not ndarray:
            return not isinstance(base, Memory)
        base = base.base
    return False


cpdef guard(str name, operand):  # -> Any
    """What finds out whether an operand is changed from now on; None if nobody can change it."""
    cdef Guard found
    cdef Stamp stamp
    cdef Variable source
    if isinstance(operand, Variable):
        if (<Variable> operand)._sealed:
            return None
        source = owner_of(operand)
        stamp = source._stamp
        if stamp is None or stamp.fingerprint is not None:
            stamp = Stamp.__new__(Stamp)
            stamp.version = source._version
            if is_shared(<PyObject *> source._array):
                stamp.fingerprint = fingerprint(source._array)
            source._stamp = stamp
        found = Guard.__new__(Guard)
        found.tensor = source
    elif type(operand) is ndarray:
        stamp = Stamp.__new__(Stamp)
        stamp.fingerprint = fingerprint(operand)
        found = Guard.__new__(Guard)
        found.array = operand
    else:
        return None
    found.name, found.stamp = name, stamp
    return found


# ---------------------------------------------------------------- what was called

@cython.final
cdef class Plan:
    """What a call keeps where some of its operands want a gradient, and what backward then does.

    Kept values lie in a list: the op's arguments, the shapes and strides of some, the output and
    the extras.
    """
    cdef readonly tuple wanted     # positions of the arguments that want one
    cdef readonly frozenset named  # of those whose values the gradients name
    cdef readonly tuple dropped    # of operands whose values they do not
    cdef readonly tuple shapes     # of those whose shapes they name
    cdef readonly tuple strides    # of those whose strides they name
    cdef readonly bint output      # whether they name it
    cdef readonly tuple gradients  # (function, what takes its arguments from the list, targets)

    def __init__(self, tuple wanted, frozenset named=frozenset(), tuple dropped=(),
                 tuple shapes=(), tuple strides=(), bint output=False, tuple gradients=()):
        self.wanted, self.named, self.dropped = wanted, named, dropped
        self.shapes, self.strides = shapes, strides
        self.output, self.gradients = output, gradients


cdef class Recording:
    """How an op's calls are recorded: a base for the rule of its gradients."""
    cdef public dict plans             # by the positions that want a gradient
    cdef public Py_ssize_t extras      # of the option that makes it return more; -1: there is none
    cdef public Py_ssize_t activation  # of the option that takes a ReLU along, or -1
    cdef public Py_ssize_t out         # of the argument that it would write to, or -1
    cdef public bint is_view           # whether the output may share an operand's memory
    cdef public object check           # of gradients that are somebody else's, or None
    cdef public object prepare         # what changes the arguments before the call, or None


cdef class Node:
    """One call of an op, recorded: data that backward, and whoever reads the graph, goes by."""
    cdef readonly object op
    cdef readonly Plan plan
    cdef readonly list values    # what is kept, in the plan's order; None after backward
    cdef readonly tuple parents  # nodes of the operands that want a gradient, or Tensors: leaves
    cdef readonly list guards    # of what is kept and may be written to
    cdef readonly object rectified  # the output, where a ReLU was taken along
    cdef readonly object number  # larger than that of every node recorded before

    def __init__(self, op, Plan plan, list values, tuple parents, list guards, rectified=None):
        self.op, self.plan, self.values, self.parents = op, plan, values, parents
        self.guards, self.rectified, self.number = guards, rectified, next_number()

    cpdef list kept(self):  # -> list[Any]
        """What was kept, if it is still there and as it was."""
        cdef Guard found
        if self.values is None:
            raise RuntimeError(
                f"backward went through {self.op.__name__} before, and freed what it had kept: "
                "call the model again")
        for found in self.guards:
            found.check(self.op.__name__)
        return self.values

    cpdef list gradients(self, grad, dict leaves):  # -> list[Any]
        """What the operands that want a gradient get, for that of the output."""
        cdef list values = self.kept()
        cdef list results = [None] * len(self.plan.wanted)
        cdef Op function
        for function, arguments, targets in self.plan.gradients:
            result = function.apply([grad, *arguments(values)])
            if type(targets) is int:
                results[targets] = result
            else:
                for target, part in zip(targets, result, strict=True):
                    if target is not None:
                        results[target] = part
        check = (<Recording> (<Op> self.op).rule).check
        if check is not None:
            check(self, grad, results)
        return results

    cpdef free(self):
        """Forget all but what was called."""
        self.values = self.rectified = None
        self.parents, self.guards = (), []


@cython.final
cdef class Op:
    """A function of arrays that takes Tensors too, and looks like the function otherwise.

    Parameters
    ----------
    function : function
        Without ``*args`` and ``**kwargs``.
    sequence : bool
        Whether its first argument is a list or tuple of operands.
    """
    cdef vectorcall run  # what the interpreter calls
    cdef object function
    cdef object keywords  # names of the arguments that are keywords only, or None
    cdef Py_ssize_t positional
    cdef tuple defaults  # of all parameters; MISSING where there is none
    cdef dict positions
    cdef readonly bint sequence
    cdef readonly tuple parameters
    cdef public object rule  # a Recording; of a sequence's op, the function of all gradients
    cdef dict __dict__  # __name__, __doc__ and the like

    def __cinit__(self, function, bint sequence=False):
        if type(function) is not FunctionType or function.__code__.co_flags & TAKES_ANY:
            raise TypeError(f"expected a function that names all its arguments, got {function!r}")
        code = function.__code__
        cdef Py_ssize_t positional = code.co_argcount
        cdef Py_ssize_t total = positional + code.co_kwonlyargcount
        cdef tuple names = code.co_varnames[:total], usual = function.__defaults__ or ()
        cdef dict named = function.__kwdefaults__ or {}
        self.run = call_op
        self.function = function
        self.sequence = sequence
        self.parameters = names
        self.positions = {name: i for i, name in enumerate(names)}
        self.positional = positional
        self.keywords = names[positional:] or None
        self.defaults = (
            (MISSING,) * (positional - len(usual)) + usual
            + tuple([named.get(name, MISSING) for name in names[positional:]]))
        update_wrapper(self, function)

    def __call__(self, *args, **kwargs):  # -> Any
        cdef list values = list(args)
        values += kwargs.values()
        cdef tuple names = tuple(kwargs)
        return <object> call_op(<PyObject *> self, PySequence_Fast_ITEMS(values), len(args),
                                <PyObject *> names)

    def __get__(self, instance, owner):
        return self if instance is None else MethodType(self, instance)

    def __reduce__(self):
        return self.function.__qualname__  # found in its module, as a function is

    def __repr__(self):
        return f"<op {self.function.__qualname__}>"

    cpdef apply(self, list values):  # -> Any
        """What the function gives for a list of all its arguments."""
        cdef PyObject *keywords = NULL
        cdef Py_ssize_t i
        for i in range(self.positional, len(values)):
            if values[i] is not self.defaults[i]:  # keywords take time
                keywords = <PyObject *> self.keywords
                break
        return PyObject_Vectorcall(<PyObject *> self.function, PySequence_Fast_ITEMS(values),
                                   self.positional, keywords)


# ---------------------------------------------------------------- calls

cdef list bind(Op op, PyObject *const *args, Py_ssize_t given, tuple names):
    """All arguments in the order of the signature, or None if they do not fit it."""
    cdef Py_ssize_t i
    if given > op.positional:
        return None
    cdef list values = [<object> args[i] for i in range(given)]
    values.extend(op.defaults[given:])
    if names is not None:
        for i, name in enumerate(names):
            at = op.positions.get(name)
            if at is None or at < given:
                return None
            values[at] = <object> args[given + i]
    for value in values:
        if value is MISSING:
            return None
    return values


cdef bint has_tensor(values):
    for value in values:
        if isinstance(value, Variable):
            return True
    return False


cdef PyObject *call_op(PyObject *self, PyObject *const *args, size_t flags, PyObject *keywords) \
        except NULL:
    cdef Op op = <Op> self
    cdef Py_ssize_t i, given = PyVectorcall_NARGS(flags)
    cdef tuple names = None if keywords == NULL else <tuple> keywords
    cdef Py_ssize_t total = given + (0 if names is None else len(names))
    cdef bint recorded = False
    cdef list values = None
    for i in range(total):
        if isinstance(<object> args[i], Variable):
            recorded = True
            break
    if op.sequence and not recorded and total and type(<object> args[0]) in (list, tuple):
        recorded = has_tensor(<object> args[0])
    if recorded:
        # what does not lie on the interpreter's stack, lies in somebody's tuple: F.relu(*args)
        if op is relu and flags == 1 | ARGUMENTS_OFFSET and total == 1 and is_unshared(args[0]):
            result = <object> args[0]
            take_relu_along(<Variable> result)
            Py_INCREF(result)
            return <PyObject *> result
        values = bind(op, args, given, names)
    if values is None:  # no Tensors; or arguments that do not fit, as the function itself says
        result = PyObject_Vectorcall(<PyObject *> op.function, args, flags, keywords)
    elif op.sequence:
        result = record_sequence(op, values)
    else:
        result = record(op, values)
    Py_INCREF(result)
    return <PyObject *> result


cdef Op _any = Op(update_wrapper)  # any function: the field is where it is in every Op
FC_SET_VECTORCALL(<PyTypeObject *> Op, <char *> &_any.run - <char *> <PyObject *> _any)


def op(function):  # -> Any
    """Decorator: the function, as an Op."""
    return Op(function)


def op_of_sequence(function):  # -> Any
    """Decorator: a function whose first argument is a sequence of operands, as an Op."""
    return Op(function, True)


# ---------------------------------------------------------------- recording

cdef object record(Op op, list values):
    cdef Recording rule = <Recording?> op.rule
    cdef bint enabled = is_enabled(), asked = True
    cdef Plan plan = None
    cdef Py_ssize_t i
    cdef Variable tensor
    cdef Node node
    cdef list operands, wanted = [], guards = [], extras = None, parents
    if rule.out >= 0 and values[rule.out] is not None:
        raise TypeError(f"{op.__name__} cannot write to out what is made of Tensors: use arrays")
    if rule.prepare is not None:
        rule.prepare(values)
    operands = values.copy()
    if enabled:
        for i, value in enumerate(operands):
            if isinstance(value, Variable) and (<Variable> value)._requires_grad:
                wanted.append(i)
        if wanted:
            positions = tuple(wanted)
            plan = rule.plans.get(positions)
            if plan is None:
                plan = rule.plan(positions)
            for i in plan.named:
                found = guard(op.parameters[i], operands[i])
                if found is not None:
                    guards.append(found)
    for i, value in enumerate(operands):
        if isinstance(value, Variable):
            values[i] = (<Variable> value)._array
    if plan is not None and rule.extras >= 0:
        asked, values[rule.extras] = values[rule.extras], True
    output = op.apply(values)
    if type(output) is tuple:
        output, *extras = output
    tensor = result_of(output, operands, rule.is_view, enabled)
    if plan is not None:
        for i in plan.shapes:
            values.append(values[i].shape)
        for i in plan.strides:
            values.append(values[i].strides)
        for i in plan.dropped:
            values[i] = None
        values.append(tensor._array if plan.output else None)
        if extras is not None:
            values += extras
        rectified = rule.activation >= 0 and values[rule.activation] is not None
        parents = [parent_of(operands[i]) for i in wanted]
        tensor._node = node = Node.__new__(Node)  # not by a call, which takes its time
        node.op, node.plan, node.values, node.parents = op, plan, values, tuple(parents)
        node.guards, node.number = guards, next_number()
        node.rectified = tensor._array if rectified else None
        tensor._requires_grad = True
    return tensor if extras is None or not asked else (tensor, *extras)


cdef bint is_unshared(PyObject *operand):
    """Whether an op has just made this Tensor, could have taken ReLU along, and nobody else has it.

    Then it is in nobody's hands but the caller's stack: F.relu(layer(x)).
    """
    cdef Variable tensor
    if not STACK_COUNTS or Py_REFCNT(operand) != 1:
        return False
    tensor = <Variable> operand
    cdef Node node = tensor._node
    if type(node) is not Node or not tensor._sealed or node.rectified is not None:
        return False
    cdef Recording rule = <Recording> (<Op> node.op).rule
    return (rule.activation >= 0 and not node.plan.output
            and Py_REFCNT(<PyObject *> tensor._array) == 1
            and Py_REFCNT(<PyObject *> node) == 2)  # the Tensor's, and the one here


cdef int take_relu_along(Variable tensor) except -1:
    """ReLU where the Tensor is, as the op that made it would have taken it along."""
    cdef Node node = tensor._node
    cdef Recording rule = <Recording> (<Op> node.op).rule
    array = tensor._array
    array.flags.writeable = True
    activation(RELU, array, array)
    array.flags.writeable = False
    node.values[rule.activation] = "relu"
    node.rectified = array
    return 0


cdef object parent_of(Variable operand):
    return operand if operand._node is None else operand._node


cdef Variable result_of(output, list operands, bint is_view, bint sealed):
    """An op's output as a Tensor.

    Nobody has a writable array of the same memory yet, so a read-only one stays as it is for good;
    but a view of what others may write to.
    """
    cdef Variable tensor = Tensor.__new__(Tensor)
    tensor._array = output if type(output) is ndarray else asarray(output)
    if is_view:
        for operand in operands:
            if isinstance(operand, Variable):
                if (not (<Variable> operand)._sealed
                        and share_memory(tensor._array, (<Variable> operand)._array)):
                    tensor._source = owner_of(operand)
                    return tensor
            elif type(operand) is ndarray and share_memory(tensor._array, operand):
                tensor._source = Tensor(operand)
                return tensor
    if sealed:
        tensor._array.flags.writeable = False
        tensor._sealed = True
    return tensor


@cython.final
cdef class SequenceNode(Node):

    cpdef list gradients(self, grad, dict leaves):
        parts = self.op.rule(grad, *self.kept())
        return [parts[i] for i in self.plan.wanted]


cdef object record_sequence(Op op, list values):
    cdef bint enabled = is_enabled()
    cdef list operands = list(values[0]), wanted = [], arrays = []
    cdef Variable tensor
    for i, value in enumerate(operands):
        if isinstance(value, Variable):
            if enabled and (<Variable> value)._requires_grad:
                wanted.append(i)
            value = (<Variable> value)._array
        arrays.append(value)
    values[0] = arrays
    tensor = result_of(op.apply(values), operands, False, enabled)
    if wanted:
        values[0] = [array.shape for array in arrays]
        parents = [parent_of(operands[i]) for i in wanted]
        tensor._node = SequenceNode(op, Plan(tuple(wanted)), values, tuple(parents), [])
        tensor._requires_grad = True
    return tensor


# ---------------------------------------------------------------- going back

by_number = attrgetter("number")


cdef list from_last(Node root):
    """Every node that the root's result was made of, the last recorded first."""
    cdef set found = {root}
    cdef list left = [root]
    while left:
        for parent in (<Node> left.pop()).parents:
            if isinstance(parent, Node) and parent not in found:
                found.add(parent)
                left.append(parent)
    return sorted(found, key=by_number, reverse=True)


def run_backward(Variable tensor, grad, dict leaves):  # -> None
    """Go back from a Tensor with this gradient, and add to `leaves`: {id: (leaf, gradient)}.

    Gradients meet in the order of the nodes that they come from, whatever ran meanwhile.
    """
    cdef Node node
    cdef dict pending
    cdef set owned = set()  # nodes whose pending gradient is a sum that nobody else has
    cdef list results
    cdef tuple parents
    cdef bint shared
    if tensor._node is None:
        if tensor._requires_grad:
            add_to_leaf(leaves, tensor, grad, True)
        return
    pending = {tensor._node: grad}
    for node in from_last(tensor._node):
        grad = pending.pop(node, None)
        if grad is None:
            continue
        parents = node.parents
        shared = not type(node) is Node or (<Recording> (<Op> node.op).rule).check is not None
        if node.rectified is not None:
            grad = relu_backward(grad, node.rectified)
            node.rectified = None
        results = node.gradients(grad, leaves)
        node.free()
        for parent in parents:
            result = results.pop(0)
            if result is None:
                continue
            if isinstance(parent, Variable):
                add_to_leaf(leaves, parent, result, shared or result is grad)
                continue
            held = pending.get(parent)
            if held is None:
                pending[parent] = result
            elif parent in owned:
                np.add(held, result, out=held)
            else:
                pending[parent] = add(held, result)
                owned.add(parent)
        result = held = None  # or they would live until the next ones are there


def commit(dict leaves):  # -> None
    """Add what run_backward found to the gradients of the leaves: to all, or on error to none."""
    cdef list sums = []
    for leaf, found in leaves.values():
        held = (<Variable> leaf).grad
        sums.append(found if held is None else add(held, found))
    for leaf, _ in leaves.values():  # a loop in which nothing fails or looks for signals
        (<Variable> leaf).grad = sums.pop(0)


cdef int add_to_leaf(dict leaves, Variable leaf, grad, bint shared) except -1:
    held = leaves.get(id(leaf))
    if held is not None:
        grad = add(held[1], grad)
    elif shared or isinstance(grad.base, ndarray):
        grad = grad.copy()  # somebody else has it, too
    leaves[id(leaf)] = leaf, grad if type(grad) is ndarray else asarray(grad)
    return 0
