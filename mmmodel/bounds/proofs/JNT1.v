(** One reserve for several paths (JNT-1): any number of paths, classes, chunks and requests. *)
From Coq Require Import Arith Lia Bool.
From mmmodel Require Import System Sums StuckState Safe RES8.

(** Classes of several paths are numbered through; path k says which one class k belongs to. The path i alone: the classes of the others take
    nothing. *)
Definition alone (path : nat -> nat) (m : nat -> nat) (i k : nat) : nat := if path k =? i then m k else 0.

(** R_i, what path i needs alone, and R_joint, what all need together: thresholds of RES-8. *)
Definition own_reserve classes K path m c (i : nat) : nat := safe_reserve classes K (alone path m i) c.
Definition joint_reserve classes K m c : nat := safe_reserve classes K m c.

(** How many of the paths wait for t or more somewhere. *)
Definition some_wait (classes : nat) (path m : nat -> nat) (c : nat -> nat -> nat) (i t : nat) : nat :=
  if 0 <? greatest classes (fun k => greatest (alone path m i k) (fun j => if t <=? c k j then 1 else 0)) then 1 else 0.
Definition paths_waiting paths classes path m c t : nat := sum paths (fun i => some_wait classes path m c i t).

Section Paths.
Variables (paths classes : nat) (K path m : nat -> nat) (c : nat -> nat -> nat).
Hypothesis of_a_path : forall k, k < classes -> path k < paths.

(** S_i(t): what path i holds at threshold t. *)
Let holds_at i t := sum classes (fun k => K k * most (alone path m i) c k t).

Lemma most_alone i k t : most (alone path m i) c k t = if path k =? i then most m c k t else 0.
Proof. unfold most, alone. destruct (path k =? i); reflexivity. Qed.

Lemma all_paths_hold t : sum classes (fun k => K k * most m c k t) = sum paths (fun i => holds_at i t).
Proof.
  unfold holds_at. rewrite sum_swap. apply sum_ext. intros k Hk. specialize (of_a_path k Hk).
  rewrite (sum_ext paths _ (fun i => (if path k =? i then 1 else 0) * (K k * most m c k t))).
  - rewrite (sum_pick paths (path k) (fun _ => K k * most m c k t)). replace (path k <? paths) with true; [reflexivity|].
    symmetry. apply Nat.ltb_lt. assumption.
  - intros i _. rewrite most_alone. destruct (path k =? i); lia.
Qed.

Lemma some_wait_spec i t :
  some_wait classes path m c i t = 1 /\ (exists k j, k < classes /\ j < alone path m i k /\ t <= c k j)
  \/ some_wait classes path m c i t = 0 /\ holds_at i t = 0.
Proof.
  unfold some_wait. set (g := fun k => greatest (alone path m i k) (fun j => if t <=? c k j then 1 else 0)).
  destruct (0 <? greatest classes g) eqn:E; [left|right]; split; try reflexivity.
  - apply Nat.ltb_lt in E. destruct (greatest_reached _ _ E) as [k [Hk Ek]]. rewrite <- Ek in E. unfold g in E.
    destruct (greatest_reached _ _ E) as [j [Hj Ej]]. exists k, j. rewrite <- Ej in E.
    destruct (t <=? c k j) eqn:L; [apply Nat.leb_le in L; tauto|lia].
  - apply Nat.ltb_ge in E. unfold holds_at. rewrite (sum_ext _ _ (fun _ => 0)), sum_const; [lia|]. intros k Hk.
    destruct (Nat.eq_dec (most (alone path m i) c k t) 0) as [->|N]; [lia|exfalso].
    destruct (most_reached (alone path m i) c k t) as [j [Hj [L _]]]; [lia|].
    pose proof (greatest_ge classes g k Hk) as G. unfold g at 1 in G.
    pose proof (greatest_ge (alone path m i k) (fun j => if t <=? c k j then 1 else 0) j Hj) as G'. simpl in G'.
    apply Nat.leb_le in L. rewrite L in G'. lia.
Qed.

(** A path that waits for t or more needs at least t and what it holds there. *)
Lemma own_reserve_ge i t :
  (exists k j, k < classes /\ j < alone path m i k /\ t <= c k j) -> t + holds_at i t <= own_reserve classes K path m c i.
Proof.
  intros [k0 [j0 [Hk0 [Hj0 L0]]]].
  (* its least chunk that is at least t *)
  set (places := one_reserve classes (alone path m i) m c 0).
  destruct (least_request places (fun r => t <= c (class r) (snd r)) (fun r => c (class r) (snd r))) as [[k j] [[Hk Hj] [L Least]]].
  { intros r. apply le_dec. }
  { exists (k0, j0). repeat split; assumption. }
  unfold class in *. simpl in *.
  apply Nat.le_trans with (at_threshold classes K (alone path m i) c (c k j)).
  - unfold at_threshold. apply Nat.add_le_mono; [assumption|]. apply sum_le. intros a Ha. apply Nat.mul_le_mono_l.
    destruct (Nat.eq_dec (most (alone path m i) c a t) 0) as [->|N]; [lia|].
    destruct (most_reached (alone path m i) c a t) as [b [Hb [Lb <-]]]; [lia|].
    apply most_ge; [assumption|]. apply (Least (a, b)); [split|]; assumption.
  - apply safe_reserve_ge; assumption.
Qed.

Lemma counted t :
  t * paths_waiting paths classes path m c t + sum classes (fun k => K k * most m c k t)
  <= sum paths (own_reserve classes K path m c).
Proof.
  unfold paths_waiting. rewrite all_paths_hold, <- sum_mul, <- sum_add. apply sum_le. intros i _.
  destruct (some_wait_spec i t) as [[-> W]|[-> ->]]; [|lia]. apply own_reserve_ge in W. lia.
Qed.

(** The path of a chunk waits for it. *)
Lemma one_waits k j : k < classes -> j < m k -> 0 < paths_waiting paths classes path m c (c k j).
Proof.
  intros Hk Hj. unfold paths_waiting.
  pose proof (sum_member paths (fun i => some_wait classes path m c i (c k j)) (path k) (of_a_path k Hk)) as M. simpl in M.
  enough (some_wait classes path m c (path k) (c k j) = 1) by lia.
  assert (alone path m (path k) k = m k) as A by (unfold alone; rewrite Nat.eqb_refl; reflexivity).
  unfold some_wait. set (g := fun a => greatest (alone path m (path k) a) (fun b => if c k j <=? c a b then 1 else 0)).
  pose proof (greatest_ge classes g k Hk) as G. unfold g at 1 in G. rewrite A in G.
  pose proof (greatest_ge (m k) (fun b => if c k j <=? c k b then 1 else 0) j Hj) as G'. simpl in G'. rewrite Nat.leb_refl in G'.
  replace (0 <? greatest classes g) with true; [reflexivity|]. symmetry. apply Nat.ltb_lt. lia.
Qed.
End Paths.

Theorem JNT_1 :
  forall (paths classes : nat) (K path m : nat -> nat) (c : nat -> nat -> nat),
  (forall k, k < classes -> path k < paths) ->
  (forall k, k < classes -> 0 < K k) ->
  (forall k j, k < classes -> j < m k -> 0 < c k j) ->
  let R := own_reserve classes K path m c in
  let R_joint := joint_reserve classes K m c in
  least_from_which_on (fun r => safe (one_reserve classes K m c r)) R_joint
  /\ (forall i, least_from_which_on (fun r => safe (one_reserve classes K (alone path m i) c r)) (R i))
  /\ forall k j, k < classes -> j < m k -> let t := c k j in at_threshold classes K m c t = R_joint ->
     R_joint + (paths_waiting paths classes path m c t - 1) * t <= sum paths R.
Proof.
  intros paths classes K path m c Hp PK Pc. simpl. split; [apply RES_8; assumption|split].
  - intros i. apply RES_8; [assumption|]. intros k j Hk Hj. apply Pc; [assumption|].
    unfold alone in Hj. destruct (path k =? i); lia.
  - intros k j Hk Hj E. pose proof (counted paths classes K path m c Hp (c k j)) as C.
    pose proof (one_waits paths classes path m c Hp k j Hk Hj) as W. unfold at_threshold in E. rewrite <- E.
    destruct (paths_waiting paths classes path m c (c k j)) as [|n]; [lia|]. simpl. nia.
Qed.
