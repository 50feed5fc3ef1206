(** First come, first served: pools whose waiting requests stand in one line, of which only the head may take. *)
From Coq Require Import Arith List.
From mmmodel Require Import System.
Import ListNotations.

Section Lines.
Variables (st : stack)
  (fifo : nat -> bool)              (* which pools have a line; from the others whatever fits may take *)
  (served : nat -> nat -> bool).    (* class, step: after which steps a request is served before it waits again *)

(** Two requests stand in a line together: both wait for a step that takes from the same fifo pool. *)
Definition in_one_line (s : state) (b r : request) : Prop :=
  exists p, p < pools st /\ fifo p = true /\ 0 < take st (class b) (s b) p /\ 0 < take st (class r) (s r) p.

(** All who wait, in the order in which they came. A request joins all lines of its step at one moment, so that the line of a pool is the
    part of this list that takes from it; who takes is the head of each of its lines. After a step that is not served it joins the lines of
    its next step at once, else at any later time; so does a request that waits outside for its first step. *)
Inductive moves_in_lines (s : state) (came : list request) (s' : state) : list request -> Prop :=
| joins r : waits st s r -> ~ In r came -> (forall q, s' q = s q) -> moves_in_lines s came s' (came ++ [r])
| takes_in_line r before behind :
    came = before ++ r :: behind -> waits st s r -> fits st s r -> (forall b, In b before -> ~ in_one_line s b r) ->
    s' r = s r + 1 -> (forall q, q <> r -> s' q = s q) ->
    moves_in_lines s came s'
      (before ++ behind ++ if served (class r) (s r) then [] else if s' r <? steps st (class r) then [r] else [])
| is_done_in_line r :
    there st r -> s r = steps st (class r) -> s' r = 0 -> (forall q, q <> r -> s' q = s q) -> moves_in_lines s came s' came.

Inductive reachable_in_lines : state -> list request -> Prop :=
| at_first s : (forall r, s r = 0) -> reachable_in_lines s []
| goes_in_lines s came s' came' :
    reachable_in_lines s came -> moves_in_lines s came s' came' -> reachable_in_lines s' came'.

(** A deadlock: a set of waiting requests, one of which holds something, none of which could take its next step even if every other
    request had finished: it does not fit, or stands behind another of the set. *)
Definition deadlocked_in_lines (D : request -> bool) (s : state) (came : list request) : Prop :=
  (exists r, there st r /\ D r = true /\ holds_something st (class r) (s r))
  /\ (forall r, there st r -> D r = true -> waits st s r /\ In r came)
  /\ forall before r behind, came = before ++ r :: behind -> there st r -> D r = true ->
     ~ fits st (only D s) r \/ exists b, In b before /\ there st b /\ D b = true /\ in_one_line s b r.

(** What is blocked in a set of waiting requests: the least set in which what does not fit is blocked, and who takes from a line that a
    blocked request closes is blocked. *)
Inductive blocked_in_lines (D : request -> bool) (s : state) : request -> Prop :=
| does_not_fit r : there st r -> D r = true -> ~ fits st (only D s) r -> blocked_in_lines D s r
| line_closed b r :
    there st r -> D r = true -> blocked_in_lines D s b -> in_one_line s b r -> blocked_in_lines D s r.

(** A stuck state: waiting requests within the pools, one of which holds something, and all of which are blocked. *)
Definition stuck_in_lines (D : request -> bool) (s : state) : Prop :=
  (exists r, there st r /\ D r = true /\ holds_something st (class r) (s r))
  /\ (forall r, there st r -> D r = true -> waits st s r /\ blocked_in_lines D s r)
  /\ forall p, p < pools st -> held st (only D s) p <= capacity st p.
End Lines.
