(** Safe reserve, one class (RES-2): any number of chunks and requests. *)
From Coq Require Import Arith Lia Bool.
From mmmodel Require Import System Sums StuckState Safe RES8.

(** K requests of one class in flight, of m chunks each: c 0, ..., c (m - 1). *)
Definition one_class (K m : nat) (c : nat -> nat) (R : nat) : stack := one_reserve 1 (fun _ => K) (fun _ => m) (fun _ => c) R.

Lemma by_thresholds K m c :
  0 < K -> 0 < m -> safe_reserve 1 (fun _ => K) (fun _ => m) (fun _ => c) = K * (sum m c - c (m - 1)) + c (m - 1).
Proof.
  intros PK Pm. destruct m as [|n]; [lia|]. simpl sum. replace (S n - 1) with n by lia.
  replace (sum n c + c n - c n) with (sum n c) by lia.
  apply Nat.le_antisymm.
  - apply greatest_le. intros k _. apply greatest_le. intros j Hj.
    unfold at_threshold. simpl sum.
    destruct (Nat.eq_dec (most (fun _ => S n) (fun _ => c) 0 (c j)) 0) as [Z|NZ].
    + rewrite Z. destruct (Nat.eq_dec j n) as [->|]; [lia|].
      pose proof (sum_longer (S j) n c) as L. simpl in L. nia.
    + destruct (most_reached (fun _ => S n) (fun _ => c) 0 (c j)) as [i [Hi [L E]]]; [lia|]. rewrite <- E.
      destruct (Nat.eq_dec i n) as [->|]; [lia|].
      pose proof (sum_longer (S i) n c) as M. simpl in M. nia.
  - pose proof (safe_reserve_ge 1 (fun _ => K) (fun _ => S n) (fun _ => c) 0 n Nat.lt_0_1 (Nat.lt_succ_diag_r n)) as G. unfold at_threshold in G. simpl in G.
    pose proof (most_ge (fun _ => S n) (fun _ => c) 0 n (c n) (Nat.lt_succ_diag_r n) (le_n _)) as M. simpl in M. simpl. nia.
Qed.

Theorem RES_2 :
  forall (K m : nat) (c : nat -> nat),
  0 < K ->
  0 < m ->
  (forall j, j < m -> 0 < c j) ->
  let F := sum m c in
  let c_m := c (m - 1) in
  least_from_which_on (fun R => safe (one_class K m c R)) (K * (F - c_m) + c_m).
Proof.
  intros K m c PK Pm Pc. simpl. rewrite <- by_thresholds by assumption. apply RES_8; auto.
Qed.

(** One byte below, if it is enough for one request, all K requests stand before their last chunk in a deadlock. *)
Theorem RES_2_one_below :
  forall (K m : nat) (c : nat -> nat) (R : nat),
  0 < K ->
  0 < m ->
  (forall j, j < m -> 0 < c j) ->
  sum m c <= R ->
  R + 1 = K * (sum m c - c (m - 1)) + c (m - 1) ->
  deadlock_reachable (one_class K m c R).
Proof.
  intros K m c R PK Pm Pc F E. apply deadlock_iff_stuck_state.
  destruct m as [|n]; [lia|]. simpl sum in *. replace (S n - 1) with n in * by lia.
  replace (sum n c + c n - c n) with (sum n c) in E by lia.
  assert (0 < c n) as Pn by (apply Pc; lia).
  set (all := fun _ j : nat => if j =? n then K else 0). exists all.
  assert (forall g, sum (S n) (fun j => all 0 j * g j) = K * g n) as One.
  { intros g. simpl. unfold all at 2. rewrite Nat.eqb_refl. rewrite (sum_ext n _ (fun _ => 0)), sum_const; [lia|].
    intros j Hj. unfold all. replace (j =? n) with false by (symmetry; apply Nat.eqb_neq; lia). reflexivity. }
  assert (forall p, used (one_class K (S n) c R) all p = K * sum n c) as U.
  { intros p. unfold used. change (classes (one_class K (S n) c R)) with 1. change (steps (one_class K (S n) c R) 0) with (S n).
    simpl sum at 1. change (steps (one_class K (S n) c R) 0) with (S n).
    exact (One (fun j => holds (one_class K (S n) c R) 0 j p)). }
  split; [|split; [|split]].
  - intros k Hk. simpl in Hk. replace k with 0 by lia. change (sum (S n) (all 0) <= K).
    rewrite (sum_ext _ (all 0) (fun j => all 0 j * 1)) by (intros; lia). rewrite (One (fun _ => 1)). lia.
  - intros p _. rewrite U. simpl. lia.
  - exists 0, n. split; [simpl; lia|split; [simpl; lia|]]. unfold all. rewrite Nat.eqb_refl. assumption.
  - intros k j [Hk [Hj P]]. simpl in Hk, Hj. unfold all in P. destruct (j =? n) eqn:Ej; [|lia].
    apply Nat.eqb_eq in Ej. subst j. split.
    + exists 0. split; [simpl; lia|]. change (0 < sum n c). destruct (sum n c); nia.
    + exists 0. split; [simpl; lia|]. rewrite U. simpl. lia.
Qed.
