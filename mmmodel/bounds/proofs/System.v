(** What a stack is, what it can do next, and what a deadlock is. Everything that the theorems speak of is defined here.

    A request walks through the steps of its class. A step takes amounts from pools, all or nothing, and waits until they fit; what fits
    may overtake. What a request has taken it holds until it is done, and then gives back at once (one-shot release).
    No times: a request may be granted, served and done in any order that the pools allow. Amounts and counts are natural numbers. *)
From Coq Require Import Arith Lia.

(** f 0 + ... + f (n - 1), and the greatest of them (0 if there are none). *)
Fixpoint sum (n : nat) (f : nat -> nat) : nat := match n with 0 => 0 | S m => sum m f + f m end.
Fixpoint greatest (n : nat) (f : nat -> nat) : nat := match n with 0 => 0 | S m => max (greatest m f) (f m) end.

(** Pools are numbered from 0, and so are classes, the requests of a class, and its steps. *)
Record stack := {
  pools : nat;
  capacity : nat -> nat;
  classes : nat;
  depth : nat -> nat;                 (* how many requests of the class there are *)
  steps : nat -> nat;                 (* how many steps they take *)
  take : nat -> nat -> nat -> nat;    (* class, step, pool: the amount *)
}.

(** A request: its class, and its number in the class. A state: how many steps each request has taken. *)
Definition request : Type := nat * nat.
Definition class (r : request) : nat := fst r.
Definition state : Type := request -> nat.
Definition empty : state := fun _ => 0.

Section Stack.
Variable st : stack.

Definition there (r : request) : Prop := class r < classes st /\ snd r < depth st (class r).
Definition total (f : request -> nat) : nat := sum (classes st) (fun k => sum (depth st k) (fun i => f (k, i))).

(** What one request of class k holds of pool p after j steps, and what all hold in a state. *)
Definition holds (k j p : nat) : nat := sum j (fun i => take st k i p).
Definition held (s : state) (p : nat) : nat := total (fun r => holds (class r) (s r) p).

Definition holds_something (k j : nat) : Prop := exists p, p < pools st /\ 0 < holds k j p.
Definition waits (s : state) (r : request) : Prop := there r /\ s r < steps st (class r).
Definition fits (s : state) (r : request) : Prop :=
  forall p, p < pools st -> held s p + take st (class r) (s r) p <= capacity st p.

(** One request takes its next step, or is done and is replaced by another that waits for its first step. *)
Inductive move (s s' : state) : Prop :=
| takes r : waits s r -> fits s r -> s' r = s r + 1 -> (forall q, q <> r -> s' q = s q) -> move s s'
| is_done r : there r -> s r = steps st (class r) -> s' r = 0 -> (forall q, q <> r -> s' q = s q) -> move s s'.

Inductive runs (s : state) : state -> Prop :=
| stays t : (forall r, t r = s r) -> runs s t
| goes t u : runs s t -> move t u -> runs s u.

Definition reachable (s : state) : Prop := runs empty s.

(** A deadlock: a set of waiting requests that hold something, none of which could take its next step even if every other request had
    finished. *)
Definition only (D : request -> bool) (s : state) : state := fun r => if D r then s r else 0.
Definition deadlocked (D : request -> bool) (s : state) : Prop :=
  (exists r, there r /\ D r = true)
  /\ forall r, there r -> D r = true -> waits s r /\ holds_something (class r) (s r) /\ ~ fits (only D s) r.
Definition deadlock_reachable : Prop := exists s D, reachable s /\ deadlocked D s.

(** A stack is safe: from every state that can be reached every request can finish. *)
Definition safe : Prop :=
  forall s r, reachable s -> there r -> exists t, runs s t /\ t r = steps st (class r).

(** A stuck state: how many requests n k j of each class wait after j steps, within depths and pools, somebody among them, each holding
    something and blocked on some pool. *)
Definition used (n : nat -> nat -> nat) (p : nat) : nat :=
  sum (classes st) (fun k => sum (steps st k) (fun j => n k j * holds k j p)).
Definition occupied (n : nat -> nat -> nat) (k j : nat) : Prop := k < classes st /\ j < steps st k /\ 0 < n k j.
Definition blocked (n : nat -> nat -> nat) (k j : nat) : Prop :=
  exists p, p < pools st /\ capacity st p < used n p + take st k j p.
Definition stuck (n : nat -> nat -> nat) : Prop :=
  (forall k, k < classes st -> sum (steps st k) (n k) <= depth st k)
  /\ (forall p, p < pools st -> used n p <= capacity st p)
  /\ (exists k j, occupied n k j)
  /\ forall k j, occupied n k j -> holds_something k j /\ blocked n k j.
End Stack.

(** One reserve of R bytes: class k has K k requests of m k chunks each, c k 0, c k 1, ... *)
Definition one_reserve (classes : nat) (K m : nat -> nat) (c : nat -> nat -> nat) (R : nat) : stack :=
  {| pools := 1; capacity := fun _ => R; classes := classes; depth := K; steps := m; take := fun k j _ => c k j |}.

(** x is the least number from which on all have the property. *)
Definition least_from_which_on (P : nat -> Prop) (x : nat) : Prop :=
  (forall y, x <= y -> P y) /\ forall z, (forall y, z <= y -> P y) -> x <= z.
